//! A provider that sends a refresh token with a person's first consent only: no later consent loses it.

mod logins;
mod scopes;
mod under_way;

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Query;
use axum::routing::get;
use axum::{Json, Router};
use http::Method;
use tower_oidc::{Config, Connection, GrantLifetime, OidcLayer, Resource, SharedAccount, UserTokens};

use crate::single_user::app::{Durable, configured, reads_as, reads_as_at};
use crate::support::app::{self, API, APP, World};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::test_store::TestStore;

const HOUR: Duration = Duration::from_secs(3601);
const MAIL: &str = "https://app.test/fetch?u=https://api.test/mail/";
const NOTES: &str = "https://app.test/fetch?u=https://api.test/notes/";
const PHOTOS: &str = "https://app.test/fetch?u=https://api.test/photos/";

/// `mail` and, for visitors, `photos`, each with an optional scope; for visitors without an identity, `notes`.
fn connections(config: Config) -> Config {
    let at = |name: &str| Resource::new(name, format!("{API}/{name}/")).scope(name);
    let connection = |name: &str, at| Connection::new(name).resource(at).grant_lifetime(GrantLifetime::Session);
    config
        .connection(connection("mail", at("mail").optional_scope("mail.send")))
        .connection(connection("photos", at("photos").optional_scope("photos.share")).scope("openid").allow_visitors())
        .connection(connection("notes", at("notes")).allow_visitors())
}

fn kept(config: Config) -> Config {
    let mut config = connections(config);
    config.login_grant_lifetime = GrantLifetime::Persistent;
    config
}

/// Besides the scenarios' routes, `/need` (a scope of a connection) and `/status` (of a connection).
fn routes() -> Router {
    type Asked = Query<HashMap<String, String>>;
    app::routes()
        .route(
            "/need",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                tokens.require_scopes(&asked["of"], &[&asked["scope"]]).await.map(|()| "granted")
            }),
        )
        .route(
            "/status",
            get(|tokens: UserTokens, Query(asked): Asked| async move {
                tokens.connection_status(&asked["of"]).await.map(Json)
            }),
        )
}

fn served(world: World) -> World {
    world.op.set(|settings| settings.refresh_token_once = true);
    world.serve(routes());
    world
}

fn worlds() -> [World; 3] {
    [World::with(connections), World::with(kept), World::stateless_with(connections)].map(served)
}

async fn connect(browser: &Browser, more: &str) -> Page {
    browser.visit(&format!("{APP}/auth/connect?return_to=/who&connection={more}")).await
}

/// The status of a request that needs this scope.
async fn need(browser: &Browser, of: &str, scope: &str) -> u16 {
    browser.fetch(Method::GET, &format!("{APP}/need?of={of}&scope={scope}"), "", APP).await.status.as_u16()
}

/// How a connection stands, and its scopes.
async fn status(browser: &Browser, of: &str) -> (String, Vec<String>) {
    let status = browser.fetch(Method::GET, &format!("{APP}/status?of={of}"), "", APP).await.json();
    let scopes = status["scopes"].as_array().expect("scopes").iter();
    let scopes = scopes.map(|scope| scope.as_str().expect("a scope").to_owned()).collect();
    (status["state"].as_str().expect("a state").to_owned(), scopes)
}

/// The newest authorization request's `prompt`.
fn prompt(world: &World) -> Option<String> {
    world.op.last_authorization().get("prompt").map(str::to_owned)
}

#[tokio::test]
async fn a_second_login_keeps_the_refresh_token() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        for _ in 0..2 {
            world.sign_in(&browser, "alice").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as(&browser).await, "alice");
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
        world.sign_in(&browser, "bob").await;
        assert_eq!(reads_as(&browser).await, "bob", "the control: another person has their own");
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&browser).await, "bob");
    }
}

#[tokio::test]
async fn a_second_consent_keeps_the_refresh_token_of_a_connection() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        for _ in 0..2 {
            // Each time she signs in at the provider anew: ID tokens of refreshes name her first `auth_time`.
            world.op.end_sessions();
            connect(&browser, "mail").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as_at(&browser, MAIL).await, "alice");
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

#[tokio::test]
async fn a_second_consent_keeps_the_refresh_token_of_a_visitor() {
    for world in worlds() {
        let browser = world.browser();
        world.op.sign_in_as("alice");
        for _ in 0..2 {
            connect(&browser, "photos").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as_at(&browser, PHOTOS).await, "alice");
        }
        world.op.new_person("bob");
        connect(&browser, "photos").await;
        world.op.sign_in_as("bob");
        connect(&browser, "photos").await;
        connect(&browser, "photos").await;
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, PHOTOS).await, "bob", "nothing of another account is taken over");
    }
}

/// Without an ID token nothing tells accounts apart, as [`Connection::allow_visitors`] says.
#[tokio::test]
async fn a_visitor_without_an_identity_keeps_the_refresh_token_of_the_first_account() {
    for world in worlds() {
        let browser = world.browser();
        world.op.sign_in_as("alice");
        for _ in 0..2 {
            connect(&browser, "notes").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as_at(&browser, NOTES).await, "alice");
        }
        assert!(world.op.last_authorization().get("scope").is_some_and(|scope| !scope.contains("openid")));
        world.op.new_person("bob");
        connect(&world.browser(), "notes").await;
        connect(&browser, "notes").await;
        assert_eq!(reads_as_at(&browser, NOTES).await, "bob", "the newest access token");
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, NOTES).await, "alice", "the refresh token that there is");
    }
}

#[tokio::test]
async fn the_account_of_everybody_keeps_its_refresh_token_unless_it_is_another_account() {
    let world = World::new();
    world.op.set(|settings| settings.refresh_token_once = true);
    let layer =
        OidcLayer::single_user(configured(&world), SharedAccount::connected_by_admin(), Durable(TestStore::new()));
    world.net.serve_service(APP, layer.unwrap().layer(app::routes()));
    let admin = world.signed_in("alice").await;
    world.op.new_person("alice");
    let connect = async || {
        let form = Form::post(&format!("{APP}/auth/connect?connection=login&return_to=/who"), &[]);
        let sent = admin.submit_from(APP, &form).await;
        assert_eq!(admin.settle(sent).await.status, 200);
    };
    for _ in 0..2 {
        connect().await;
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&world.browser()).await, "alice");
    }
    // Bob has consented before, and no refresh token comes for him: alice's does not stay in its place.
    world.signed_in("bob").await;
    connect().await;
    assert_eq!(reads_as(&world.browser()).await, "bob");
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
}
