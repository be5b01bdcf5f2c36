//! A real Keycloak, with its settings as they come and a realm as its guide says ([`docs::providers`](tower_oidc::docs)): the
//! part `keycloak` of `tests/run.sh`. Each test has a realm of its own, and says its steps as they end.

mod bearer;
mod demo;
mod names;
mod registrations;
mod roles;

use std::time::Duration;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    AuthSession, ClaimSource, Config, CurrentUser, Error, OidcLayer, ProviderConfig, RequireLayer, UserTokens,
};

use crate::support::app::{Events, about};
use crate::support::http::{Client, Page};
use crate::support::keycloak::{Keycloak, Realm};
use crate::support::process::{app_url, free_port};

const REALM: &str = include_str!("realm.json");
const CLIENT_SECRET: &str = "app's secret";

/// Does one step, and says how long it took: what fails is the one that is not named yet.
async fn step<T>(name: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let result = work.await;
    println!("    {name}: {:.1} s", began.elapsed().as_secs_f32());
    result
}

fn password(user: &str) -> String {
    format!("{user}'s password")
}

/// Fills in Keycloak's form.
async fn submit(browser: &mut Client, form: &Page, user: &str) -> Page {
    browser.submit(form, &[("username", user), ("password", &password(user))]).await
}

/// What the client `cli` gets for a user: for tests alone with the user's password.
async fn tokens_of(realm: &Realm, user: &str, scope: &str) -> Value {
    let password = password(user);
    let user = [("username", user), ("password", &password)];
    realm.token(&[("grant_type", "password"), ("client_id", "cli"), ("scope", scope), user[0], user[1]]).await
}

/// An application of this process, as the client `app` of a realm.
struct World {
    keycloak: Keycloak,
    realm: Realm,
    app: String,
    events: Events,
}

impl World {
    /// `None`: the test is skipped.
    async fn start(edit_realm: impl FnOnce(&mut Value), edit: impl FnOnce(Config, &Realm) -> Config) -> Option<Self> {
        let keycloak = Keycloak::shared().await?;
        let port = free_port();
        let realm = keycloak.realm(REALM, &app_url(port), edit_realm).await;
        let world = Self { keycloak, realm, app: app_url(port), events: Events::default() };
        world.serve(port, edit).await;
        Some(world)
    }

    /// Serves the application, configured so.
    async fn serve(&self, port: u16, edit: impl FnOnce(Config, &Realm) -> Config) {
        let provider = ProviderConfig::new(&self.realm.issuer, "app").client_secret(CLIENT_SECRET);
        let mut config = Config::new(app_url(port), provider).on_event(self.events.hook());
        config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
        let layer = OidcLayer::per_user(edit(config, &self.realm), MemoryStore::new());
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        let app = Router::new().fallback_service(layer.layer(routes()));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        tokio::spawn(async move { axum::serve(listener, app).await });
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.app)
    }

    /// A browser in which this person has signed in with Keycloak's form.
    async fn signed_in(&self, user: &str) -> Client {
        let mut browser = Client::new();
        let form = browser.visit(&self.at("/auth/login?return_to=/me")).await;
        assert!(form.url.as_str().starts_with(&self.realm.issuer), "{form:?}");
        let page = submit(&mut browser, &form, user).await;
        assert_eq!((page.url.as_str(), page.status.as_u16()), (&*self.at("/me"), 200), "{page:?}");
        browser
    }

    async fn signs_out(&self, browser: &mut Client) {
        let home = browser.visit(&self.at("/")).await;
        let landed = browser.click(home.link("/auth/logout")).await;
        assert_eq!((landed.url.as_str(), landed.status.as_u16()), (&*self.at("/"), 200), "{landed:?}");
    }
}

fn routes() -> Router {
    Router::new()
        .route("/", get(home))
        .route("/me", get(me))
        .route("/admins", get(|| async { "in" }).layer(RequireLayer::admin()))
        .route("/staff", get(|| async { "in" }).layer(RequireLayer::role("staff")))
        .route("/editors", get(|| async { "in" }).layer(RequireLayer::role("editor")))
        .route("/notes", get(|| async { "in" }).layer(RequireLayer::scope("notes.read")))
        .route("/all-notes", get(|| async { "in" }).layer(RequireLayer::scope("notes.all")))
        .route("/userinfo", get(userinfo))
        .with_state(())
}

/// Where Keycloak puts the roles of a realm, and those of a client: what the guide configures.
fn with_roles(provider: ProviderConfig, source: ClaimSource) -> ProviderConfig {
    provider.roles(source, "/realm_access/roles").roles(source, "/resource_access/app/roles")
}

async fn home(users: AuthSession, State(()): State<()>) -> Result<Html<String>, Error> {
    Ok(Html(format!("<a href=\"{}\">Sign out</a>", users.logout_url("/")?.replace('&', "&amp;"))))
}

async fn me(user: CurrentUser) -> Json<Value> {
    let mut me = about(&user);
    (me["scopes"], me["client"]) = (json!(user.scopes()), json!(user.client_id()));
    Json(me)
}

/// Keycloak's UserInfo, as an API that is called with the user's token.
async fn userinfo(tokens: UserTokens) -> Result<Response, Error> {
    let answer = tokens.client().get(&tokens.user_info_url().await?).await?;
    Ok((answer.status(), answer.bytes().clone()).into_response())
}

/// At most: Keycloak tells, and the machine may be busy.
const SOON: Duration = Duration::from_secs(20);
