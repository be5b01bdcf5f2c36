//! Connections, resources and refreshes against a certified provider: what a person grants besides their login,
//! and whose tokens reach which API.
//!
//! The application runs in this process behind a real socket, with the default HTTP client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{OriginalUri, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    Config, Connection, ConnectionStatus, CurrentUser, Error, EventCode, OidcLayer, ProviderConfig, Resource,
    UserTokens,
};

use crate::support::app::Events;
use crate::support::http::{Client, Page};
use crate::support::process::{RealProvider, app_url, free_port};

/// A provider, and an application of this process that is registered there.
struct World {
    provider: RealProvider,
    app: String,
    store: MemoryStore,
    events: Events,
}

impl World {
    /// With the connections `cal` and `mail`, whose APIs are the provider's own, as is the login's `/agenda`.
    async fn start(env: &[(&str, &str)]) -> Option<Self> {
        Self::with(env, |config, issuer| {
            let cal = Resource::new("cal", format!("{issuer}/cal/")).scope("cal");
            let mail = Resource::new("mail", format!("{issuer}/mail/"));
            let mail = mail.scope("mail").optional_scope("mail:send");
            config
                .resource(Resource::new("agenda", format!("{issuer}/agenda")))
                .connection(Connection::new("cal").resource(cal))
                .connection(Connection::new("mail").resource(mail))
        })
        .await
    }

    /// `None`: the test is skipped.
    async fn with(env: &[(&str, &str)], edit: impl FnOnce(Config, &str) -> Config) -> Option<Self> {
        let port = free_port();
        let app = app_url(port);
        let provider = RealProvider::start(&app, &[&[("GRANTS", "separate")], env].concat()).await?;
        let (store, events) = (MemoryStore::new(), Events::default());
        let mut config = Config::new(&app, ProviderConfig::new(&provider.issuer, "web").client_secret("web secret"))
            .on_event(events.hook());
        config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
        config.provider.revocation_is_per_token = true;
        let layer = OidcLayer::per_user(edit(config, &provider.issuer), store.clone());
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        serve(port, Router::new().fallback_service(layer.layer(routes()))).await;
        Some(Self { provider, app, store, events })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.app)
    }

    /// Where the application fetches a URL for whoever asks.
    fn fetching(&self, url: &str) -> String {
        self.at(&format!("/fetch?u={}", url.replace('%', "%25").replace('?', "%3f")))
    }

    /// What one of the provider's APIs answered to this browser's person.
    async fn fetch(&self, client: &mut Client, path: &str) -> (u16, Value) {
        answer(&client.get(&self.fetching(&format!("{}{path}", self.provider.issuer))).await)
    }

    fn connect_url(&self, connection: &str) -> String {
        self.at(&format!("/auth/connect?connection={connection}&return_to=/who"))
    }

    async fn sign_in(&self, client: &mut Client, user: &str) {
        let form = client.visit(&self.at("/auth/login?return_to=/who")).await;
        let page = client.submit(&form, &[("user", user)]).await;
        assert_eq!(page.json(), user, "{page:?}");
    }

    async fn connect(&self, client: &mut Client, connection: &str) {
        let page = client.visit(&self.connect_url(connection)).await;
        assert_eq!((page.url.as_str(), page.status.as_u16()), (&*self.at("/who"), 200), "{page:?}");
    }

    /// A browser in which this person is signed in and has granted these.
    async fn connected(&self, user: &str, connections: &[&str]) -> Client {
        let mut client = Client::new();
        self.sign_in(&mut client, user).await;
        for connection in connections {
            self.connect(&mut client, connection).await;
        }
        client
    }

    /// Grants a connection at the provider, and stops short of the callback: its address.
    async fn unspent_callback(&self, client: &mut Client, connection: &str) -> String {
        client.halt_at = Some("/auth/callback");
        let page = client.visit(&self.connect_url(connection)).await;
        client.halt_at = None;
        page.headers["location"].to_str().expect("a URL").to_owned()
    }

    /// How each connection stands, in the order `cal`, `mail`.
    async fn states(&self, client: &mut Client) -> Vec<Value> {
        let list = client.get(&self.at("/status")).await.json();
        list.as_array().expect("a list").iter().map(|status| status["state"].clone()).collect()
    }

    async fn grants(&self, grant_type: &str) -> usize {
        let granted = self.provider.events("grant.success").await;
        granted.iter().filter(|event| event["grant_type"] == grant_type).count()
    }
}

/// Answers the question whether a connection is to be taken back.
async fn disconnect(client: &mut Client, app: &str, connection: &str) -> Page {
    let question = format!("{app}/auth/disconnect?connection={connection}&return_to=/who");
    let question = client.visit(&question).await;
    client.submit(&question, &[]).await
}

async fn serve(port: u16, app: Router) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    tokio::spawn(async move { axum::serve(listener, app).await });
}

fn routes() -> Router {
    async fn who(user: Option<CurrentUser>) -> Json<Value> {
        Json(json!(user.map(|user| user.subject().to_owned())))
    }
    async fn fetch(
        tokens: UserTokens, Query(query): Query<HashMap<String, String>>,
    ) -> Result<(StatusCode, String), Error> {
        let answer = tokens.client().get(&query["u"]).await?;
        Ok((answer.status(), String::from_utf8_lossy(answer.bytes()).into_owned()))
    }
    async fn status(tokens: UserTokens) -> Result<Json<Vec<ConnectionStatus>>, Error> {
        Ok(Json(tokens.connections().await?))
    }
    async fn send(tokens: UserTokens) -> Result<&'static str, Error> {
        tokens.require_scopes("mail", &["mail:send"]).await?;
        Ok("sent")
    }
    Router::new()
        .route("/who", get(who))
        .route("/fetch", get(fetch))
        .route("/status", get(status))
        .route("/send", get(send))
}

fn answer(page: &Page) -> (u16, Value) {
    (page.status.as_u16(), page.json())
}

#[tokio::test]
async fn two_people_get_their_own_tokens_only_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let [alice, bob] = [world.connected("alice", &["cal"]).await, world.connected("bob", &["cal"]).await];
    let calls = (0..200).map(async |turn| {
        let (user, browser) = if turn % 2 == 0 { ("alice", &alice) } else { ("bob", &bob) };
        let got = world.fetch(&mut browser.clone(), "/cal/x").await;
        assert_eq!(got, (200, json!({ "user": user, "scope": "openid cal" })));
    });
    join_all(calls).await;
    assert_eq!(world.provider.events("api").await.len(), 200);
    assert_eq!(world.provider.complaints().await, [] as [Value; 0]);
}

#[tokio::test]
async fn nobody_is_no_user_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let (status, problem) = world.fetch(&mut Client::new(), "/cal/x").await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthenticated")));
    let cal = world.fetching(&format!("{}/cal/x", world.provider.issuer));
    let form = Client::new().visit(&cal).await;
    assert_eq!(form.url.origin().ascii_serialization(), world.provider.issuer, "a person is asked who they are");
    assert!(world.store.is_empty());
    assert_eq!(world.provider.events("api").await, [] as [Value; 0]);
    assert_eq!(world.provider.events("grant.success").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_foreign_callback_is_refused_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let [mut mallory, mut alice] = [world.connected("mallory", &[]).await, world.connected("alice", &[]).await];
    let callback = world.unspent_callback(&mut mallory, "cal").await;
    assert_eq!(alice.visit(&callback).await.status, 400);
    for browser in [&mut alice, &mut mallory] {
        assert_eq!(world.states(browser).await, ["not_connected", "not_connected"]);
    }
    assert_eq!(world.grants("authorization_code").await, 2, "the two logins");
    assert_eq!(mallory.visit(&callback).await.json(), "mallory", "it was good, and is hers");
    assert_eq!(world.fetch(&mut mallory, "/cal/x").await.1["user"], "mallory");
    assert_eq!(world.states(&mut alice).await, ["not_connected", "not_connected"]);
}

#[tokio::test]
async fn a_user_who_changes_meanwhile_gets_nothing_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let mut browser = world.connected("alice", &[]).await;
    let callback = world.unspent_callback(&mut browser, "cal").await;
    browser.forget("localhost");
    world.sign_in(&mut browser, "bob").await;
    let rows = world.store.len();
    let page = browser.visit(&callback).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("signed in as another user"), "{}", page.body);
    assert_eq!(world.store.len(), rows);
    assert_eq!(world.grants("authorization_code").await, 2, "the two logins");
    let mut alice = world.connected("alice", &[]).await;
    assert_eq!(world.states(&mut browser).await, ["not_connected", "not_connected"]);
    assert_eq!(world.states(&mut alice).await, ["not_connected", "not_connected"]);
}

#[tokio::test]
async fn another_account_is_not_connected_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let mut alice = world.connected("alice", &[]).await;
    alice.forget("localhost");
    let form = alice.visit(&world.connect_url("cal")).await;
    let page = alice.submit(&form, &[("user", "bob")]).await;
    assert_eq!(page.status, 403);
    assert!(page.body.contains("AccountMismatch"), "{}", page.body);
    assert_eq!(world.states(&mut alice).await, ["not_connected", "not_connected"]);
    assert_eq!(world.provider.events("revocation").await[0]["kind"], "RefreshToken");
    let mut bob = world.connected("bob", &[]).await;
    assert_eq!(world.states(&mut bob).await, ["not_connected", "not_connected"]);
}

#[tokio::test]
async fn two_connections_leave_each_other_alone_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let mut alice = world.connected("alice", &["cal", "mail"]).await;
    assert_eq!(world.fetch(&mut alice, "/cal/x").await.1["scope"], "openid cal");
    assert_eq!(world.fetch(&mut alice, "/mail/x").await.1["scope"], "openid mail");
    disconnect(&mut alice, &world.app, "cal").await;
    assert_eq!(world.states(&mut alice).await, ["not_connected", "connected"]);
    let (status, problem) = world.fetch(&mut alice, "/cal/x").await;
    assert_eq!((status, &problem["code"]), (403, &json!("consent_required")));
    assert_eq!(world.fetch(&mut alice, "/mail/x").await.0, 200);
    assert_eq!(world.fetch(&mut alice, "/agenda").await.0, 200);
    assert_eq!(world.provider.complaints().await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_is_disconnected_is_revoked_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let mut alice = world.connected("alice", &["cal", "mail"]).await;
    assert_eq!(disconnect(&mut alice, &world.app, "cal").await.json(), "alice");
    let revocation =
        json!({ "event": "revocation", "status": 200, "kind": "RefreshToken", "query": "", "in_body": true });
    assert_eq!(world.provider.events("revocation").await, [revocation]);
    assert_eq!(world.fetch(&mut alice, "/cal/x").await.0, 403);
    // Once more is no error, and tells nobody.
    assert_eq!(disconnect(&mut alice, &world.app, "cal").await.json(), "alice");
    assert_eq!(world.provider.events("revocation").await.len(), 1);
    assert_eq!(world.provider.events("api").await, [] as [Value; 0]);

    let (app, provider, events) = (world.app, world.provider, world.events);
    provider.stop().await;
    let page = disconnect(&mut alice, &app, "mail").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("could not be notified"), "{}", page.body);
    assert_eq!(alice.get(&format!("{app}/status")).await.json()[1]["state"], "not_connected");
    assert_eq!(events.count(EventCode::Disconnected), 3);
}

/// An API that says which token it was shown, and keeps the paths it was asked for.
async fn recording_api() -> (String, Arc<Mutex<Vec<String>>>) {
    async fn record(
        State(paths): State<Arc<Mutex<Vec<String>>>>, OriginalUri(uri): OriginalUri, headers: HeaderMap,
    ) -> Json<Value> {
        paths.lock().unwrap().push(uri.path().to_owned());
        let payload = headers["authorization"].to_str().expect("text").split('.').nth(1).expect("a JWT");
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64url");
        let claims: Value = serde_json::from_slice(&payload).expect("JSON");
        Json(json!([claims["sub"], claims["aud"], claims["scope"]]))
    }
    let (port, paths) = (free_port(), Arc::default());
    serve(port, Router::new().fallback(record).with_state(Arc::clone(&paths))).await;
    (app_url(port), paths)
}

#[tokio::test]
async fn each_url_gets_its_own_token_or_none_at_the_real_provider() {
    const ALL: &str = "https://api.example.test/all";
    const CAL: &str = "https://api.example.test/cal";
    let (api, paths) = recording_api().await;
    for together in [false, true] {
        let world = World::with(&[], |config, _| {
            let resource = |name, path: &str, indicator| {
                Resource::new(name, format!("{api}{path}")).scope("api:read").indicator(indicator)
            };
            let (all, cal) = (resource("all", "/v1/", ALL), resource("cal", "/v1/cal/", CAL));
            let one = Connection::new("one").resource(all);
            let two = Connection::new("two");
            let (one, two) = if together { (one.resource(cal), two) } else { (one, two.resource(cal)) };
            config.connection(one).connection(two)
        });
        let Some(world) = world.await else { return };
        let mut alice = world.connected("alice", &["one", "two"]).await;
        for _ in 0..5 {
            for (path, audience) in [("/v1/x", ALL), ("/v1/cal/x?y", CAL), ("/v1/calendar", ALL)] {
                let page = alice.get(&world.fetching(&format!("{api}{path}"))).await;
                assert_eq!(answer(&page), (200, json!(["alice", audience, "api:read"])), "{path}");
            }
        }
        assert_eq!(world.grants("refresh_token").await, if together { 2 } else { 0 });
        paths.lock().unwrap().clear();
        let paths_outside = ["/v2/x", "/v1", "/v1/../v2", "/v1/%2e%2e/v2", "/v1/..%2fv2", "\\v1\\x"];
        let mut outside = paths_outside.map(|path| format!("{api}{path}")).to_vec();
        outside.extend([("127.0.0.1", "localhost"), ("//", "//v1@")].map(|(a, b)| api.replace(a, b) + "/v1/x"));
        for url in outside {
            assert_eq!(alice.get(&world.fetching(&url)).await.json()["code"], "no_token_for_url", "{url}");
        }
        assert_eq!(*paths.lock().unwrap(), [] as [String; 0]);
        assert_eq!(world.provider.complaints().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn fifty_requests_at_expiry_are_one_refresh_at_the_real_provider() {
    let Some(world) = World::start(&[("TOKEN_SECONDS", "10")]).await else { return };
    let alice = world.connected("alice", &["cal"]).await;
    // Twice: the second refresh is with the token that the first one brought.
    for refreshes in [1, 2] {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let calls = (0..50).map(async |_| world.fetch(&mut alice.clone(), "/cal/x").await);
        for got in join_all(calls).await {
            assert_eq!(got, (200, json!({ "user": "alice", "scope": "openid cal" })));
        }
        assert_eq!(world.grants("refresh_token").await, refreshes);
    }
    assert_eq!(world.provider.events("grant.revoked").await, [] as [Value; 0], "no refresh token came twice");
    assert_eq!(world.provider.complaints().await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_was_revoked_is_asked_for_again_at_the_real_provider() {
    let Some(world) = World::start(&[]).await else { return };
    let mut alice = world.connected("alice", &["cal"]).await;
    alice.get(&format!("{}/forget?user=alice", world.provider.issuer)).await;

    for _ in 0..3 {
        let (status, problem) = world.fetch(&mut alice, "/cal/x").await;
        assert_eq!((status, &problem["code"]), (403, &json!("consent_required")));
        let address = problem["connect_url"].as_str().expect("an address");
        assert!(address.starts_with("/auth/connect?connection=cal&"), "{address}");
    }
    assert_eq!(world.provider.complaints().await.len(), 1, "one refresh was refused, and none tried after it");
    // Of the login's own: a person is sent there, and comes back to the same page.
    let agenda = world.fetching(&format!("{}/agenda", world.provider.issuer));
    let page = alice.visit(&agenda).await;
    assert_eq!((page.url.as_str(), page.json()), (&*agenda, json!({ "agenda_of": "alice" })));
    world.connect(&mut alice, "cal").await;
    assert_eq!(world.fetch(&mut alice, "/cal/x").await.0, 200);
}

#[tokio::test]
async fn less_was_granted_than_was_asked_for_at_the_real_provider() {
    let Some(world) = World::start(&[("WITHHOLD", "mail:send")]).await else { return };
    let mut alice = world.connected("alice", &[]).await;
    let send = world.at("/send");
    // Asked for once, and then told: never round in circles.
    let page = alice.visit(&send).await;
    assert_eq!((page.url.as_str(), page.status.as_u16()), (&*send, 403), "{page:?}");
    let asked = world.provider.events("authorization.success").await;
    assert_eq!(asked.last().unwrap()["scope"], "openid mail mail:send");
    let mail = &alice.get(&world.at("/status")).await.json()[1];
    assert_eq!((&mail["state"], &mail["scopes"]), (&json!("connected"), &json!(["openid", "mail"])));
    assert_eq!(world.fetch(&mut alice, "/mail/x").await.1["scope"], "openid mail");
    let again = page.link("/auth/connect");
    // The address is the application's as it stands: with something added, its person is asked first.
    let page = alice.visit(&format!("{again}&prompt=consent")).await;
    let page = alice.visit(page.link("/auth/connect").as_str()).await;
    assert_eq!((page.url.as_str(), &*page.body), (&*send, "sent"));
    let asked = world.provider.events("authorization.success").await;
    assert_eq!(asked.last().unwrap()["scope"], "openid mail mail:send", "the union");
    assert_eq!(world.fetch(&mut alice, "/mail/x").await.1["scope"], "openid mail mail:send");
}
