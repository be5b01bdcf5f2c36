//! The application of the scenarios: the layer around an axum router, served at `https://app.test`.
//!
//! Routes: `/who` (the person or `null`), `/private` (GET and POST, somebody signed in), `/admin`, `/tok` (whose
//! token `UserTokens` yields), `/fetch?u=` (calls `u` as the person), `/links?to=` (addresses, or the error).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_oidc::store::{MemoryStore, Store};
use tower_oidc::{
    Admin, AuthSession, Config, CurrentUser, Error, Event, EventCode, LoginOptions, OidcLayer, ProviderConfig,
    RequireLayer, Resource, UserTokens,
};

use super::browser::Browser;
use super::clock::TestClock;
use super::net::Net;
use super::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use super::resource::ResourceServer;
use super::store::{Shared, WatchedStore};
use super::test_store::TestStore;

pub(crate) const APP: &str = "https://app.test";
pub(crate) const OP: &str = "https://op.test";
pub(crate) const OP2: &str = "https://op2.test";
pub(crate) const API: &str = "https://api.test";
pub(crate) const EVIL: &str = "https://evil.test";
/// The cookie that a session lives in.
pub(crate) const SESSION: &str = "__Host-tower-oidc-session";

/// A network with two providers (the second is there for who wants it), two APIs, a clock, and the application on it.
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) clock: TestClock,
    pub(crate) op: LyingProvider,
    /// With keys of its own, and the same people and clients.
    pub op2: LyingProvider,
    pub(crate) api: ResourceServer,
    pub(crate) evil: ResourceServer,
    pub(crate) app: App,
}

/// One process of the application.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) layer: OidcLayer,
    pub(crate) store: TestStore,
    pub(crate) events: Events,
}

/// What the application was told, in order.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn push(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }

    /// For [`Config::on_event`].
    pub(crate) fn hook(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let heard = self.clone();
        move |event| heard.push(event)
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, code: EventCode) -> usize {
        self.all().iter().filter(|event| event.code == code).count()
    }

    pub(crate) fn has(&self, code: EventCode) -> bool {
        self.count(code) > 0
    }
}

impl World {
    /// The default configuration: `https://op.test`, one resource at `https://api.test/cal/`.
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(edit: impl FnOnce(Config) -> Config) -> Self {
        Self::on(TestStore::new(), edit)
    }

    /// Over this store.
    pub(crate) fn on(store: TestStore, edit: impl FnOnce(Config) -> Config) -> Self {
        let net = Net::new();
        let clock = TestClock::new();
        let op = LyingProvider::start(&net, OP, &clock);
        let op2 = LyingProvider::start(&net, OP2, &clock);
        op2.rotate_keys();
        let (at_op, at_op2) = (op.resource_owners(), op2.resource_owners());
        let owners = move |token: &str| at_op(token).or_else(|| at_op2(token));
        let api = ResourceServer::start(&net, API, owners);
        let evil = ResourceServer::start(&net, EVIL, op.resource_owners());
        let app = App::start(&net, &clock, store, edit);
        Self { net, clock, op, op2, api, evil, app }
    }

    /// The same in stateless mode, in one process.
    pub(crate) fn stateless() -> Self {
        Self::stateless_with(|config| config)
    }

    pub(crate) fn stateless_with(edit: impl FnOnce(Config) -> Config) -> Self {
        let world = Self::new();
        let app = App::stateless(&world.net, &world.clock, edit);
        world.net.serve_service(APP, app.layer.layer(routes()));
        Self { app, ..world }
    }

    /// A browser that fails the test when headers grow beyond what proxies take.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.net, &self.clock).strict_for(APP)
    }

    /// A browser in which this person is signed in.
    pub(crate) async fn signed_in(&self, name: &str) -> Browser {
        let browser = self.browser();
        self.sign_in(&browser, name).await;
        browser
    }

    pub(crate) async fn sign_in(&self, browser: &Browser, name: &str) {
        self.op.sign_in_as(name);
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.status, 200, "{name} signs in: {}", page.text());
        assert!(page.json()["sub"].is_string(), "{name} is signed in: {}", page.text());
    }

    /// Serves other routes at `https://app.test`, behind the same layer.
    pub(crate) fn serve(&self, routes: Router) {
        self.net.serve_service(APP, self.app.layer.layer(routes));
    }

    /// The application again behind a store that breaks when told, over the same rows.
    pub(crate) fn watched(&self) -> (WatchedStore, App) {
        self.watched_with(|config| config)
    }

    /// The same, configured otherwise.
    pub(crate) fn watched_with(&self, edit: impl FnOnce(Config) -> Config) -> (WatchedStore, App) {
        let watched = WatchedStore::new(self.app.store.clone());
        let store = self.app.store.clone();
        let app = App::over(&self.net, &self.clock, watched.clone(), store, edit);
        self.net.serve_service(APP, app.layer.layer(routes()));
        (watched, app)
    }

    /// What `/who` says in this browser: a subject, or `null`.
    pub(crate) async fn who(&self, browser: &Browser) -> Value {
        let page = browser.navigate(&format!("{APP}/who")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.json()["sub"].clone()
    }

    /// What `path` answers to exactly this `Cookie` header, as a script would see it.
    pub(crate) async fn with_cookie(&self, path: &str, cookie: &[u8]) -> http::Response<bytes::Bytes> {
        let cookie = http::HeaderValue::from_bytes(cookie).expect("a header");
        let request = http::Request::get(format!("{APP}{path}")).header("cookie", cookie);
        self.browser().raw(request.body(bytes::Bytes::new()).expect("a request")).await
    }

    /// What `/who` answers to this session cookie, by itself.
    pub(crate) async fn who_is(&self, session: &str) -> Value {
        let answer = self.with_cookie("/who", format!("{SESSION}={session}").as_bytes()).await;
        assert_eq!(answer.status(), 200, "{session}");
        serde_json::from_slice::<Value>(answer.body()).expect("JSON")["sub"].clone()
    }

    /// The application again, with the same store: another process, or the same one after a restart.
    pub(crate) fn another(&self, edit: impl FnOnce(Config) -> Config) -> App {
        App::start(&self.net, &self.clock, self.app.store.clone(), edit)
    }
}

/// The value of the browser's session cookie.
pub(crate) fn session_of(browser: &Browser) -> String {
    browser.cookie(SESSION).unwrap_or_else(|| panic!("no session: {:?}", browser.cookies())).value
}

/// The address that signs this browser out and then goes to `to`.
pub(crate) async fn logout_link(browser: &Browser, to: &str) -> String {
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    let links = browser.navigate(&format!("{APP}/links?to={to}")).await.json();
    format!("{APP}{}", links["logout"]["ok"].as_str().expect("a link"))
}

impl App {
    /// Starts it and serves it at `https://app.test`, in the place of whatever was there.
    pub(crate) fn start(net: &Net, clock: &TestClock, store: TestStore, edit: impl FnOnce(Config) -> Config) -> Self {
        let app = Self::unserved(net, clock, store, edit);
        net.serve_service(APP, app.layer.layer(routes()));
        app
    }

    pub(crate) fn unserved(
        net: &Net, clock: &TestClock, store: TestStore, edit: impl FnOnce(Config) -> Config,
    ) -> Self {
        Self::over(net, clock, store.clone(), store, edit)
    }

    /// In stateless mode, where nothing is set up to meet at: no store that a test could look into.
    pub(crate) fn stateless(net: &Net, clock: &TestClock, edit: impl FnOnce(Config) -> Config) -> Self {
        let events = Events::default();
        let layer = OidcLayer::stateless(edit(config(net, clock)).on_event(events.hook()), MemoryStore::new());
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        Self { layer, store: MemoryStore::new().into(), events }
    }

    /// In stateless mode, where processes meet at this store.
    pub(crate) fn stateless_at(
        net: &Net, clock: &TestClock, rendezvous: impl Store, store: impl Into<TestStore>,
        edit: impl FnOnce(Config) -> Config,
    ) -> Self {
        let events = Events::default();
        let layer = OidcLayer::stateless(edit(config(net, clock)).on_event(events.hook()), Shared(rendezvous));
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        Self { layer, store: store.into(), events }
    }

    /// The same, where `before` stands between the layer and the store.
    pub(crate) fn over(
        net: &Net, clock: &TestClock, before: impl Store, store: TestStore, edit: impl FnOnce(Config) -> Config,
    ) -> Self {
        let events = Events::default();
        let layer = OidcLayer::per_user(edit(config(net, clock)).on_event(events.hook()), before);
        let layer = layer.unwrap_or_else(|error| panic!("{error}"));
        Self { layer, store, events }
    }
}

/// The configuration that tests start from.
pub(crate) fn config(net: &Net, clock: &TestClock) -> Config {
    let mut config = Config::new(APP, ProviderConfig::new(OP, CLIENT_ID).client_secret(CLIENT_SECRET))
        .resource(Resource::new("cal", format!("{API}/cal/")))
        .http_client(net.http_client())
        .clock(clock.readings());
    config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
    config
}

/// The same provider, configured as a preset has it.
pub(crate) fn of_preset(name: &str, mut config: Config) -> Config {
    let own = config.provider;
    let mut preset = ProviderConfig::presets().remove(name).unwrap_or_else(|| panic!("no preset {name}"));
    (preset.issuer, preset.client_id, preset.client_secret) = (own.issuer, own.client_id, own.client_secret);
    (preset.resources, preset.connections) = (own.resources, own.connections);
    config.provider = preset;
    config
}

/// The scenarios' routes.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "home" }))
        .route("/who", get(who))
        .route("/private", get(private).post(private))
        .route("/admin", get(admin).post(admin))
        .route("/required", get(|| async { "in" }).layer(RequireLayer::login()))
        .route("/admins", get(|| async { "in" }).layer(RequireLayer::admin()))
        .route("/tok", get(tok))
        .route("/fetch", get(fetch).post(fetch))
        .route("/links", get(links))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "the application's own 404") })
}

pub(crate) fn about(user: &CurrentUser) -> Value {
    json!({
        "sub": user.subject(), "issuer": user.issuer(), "email": user.email(),
        "email_verified": user.email_verified(), "name": user.name(), "admin": user.is_admin(),
    })
}

async fn who(user: Option<CurrentUser>) -> Json<Value> {
    Json(user.as_ref().map_or(Value::Null, about))
}

async fn private(user: CurrentUser) -> Json<Value> {
    Json(about(&user))
}

async fn admin(admin: Admin) -> Json<Value> {
    Json(about(admin.user()))
}

async fn tok(tokens: UserTokens) -> Result<String, Error> {
    Ok(tokens.access_token(&format!("{API}/cal/")).await?.expose_secret().to_owned())
}

async fn fetch(tokens: UserTokens, Query(query): Query<HashMap<String, String>>) -> Result<Response, Error> {
    let answer = tokens.client().get(&query["u"]).await?;
    let status = answer.status();
    Ok((status, answer.bytes().clone()).into_response())
}

async fn links(users: AuthSession, Query(query): Query<HashMap<String, String>>, State(()): State<()>) -> Json<Value> {
    let to = &query["to"];
    let show = |url: Result<String, tower_oidc::DestinationError>| match url {
        Ok(url) => json!({ "ok": url }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    };
    let choices = users.login_choices(to, &LoginOptions::default()).unwrap_or_default();
    let choices: Vec<_> = choices.into_iter().map(|choice| choice.login_url).collect();
    Json(json!({
        "login": show(users.login_url(to)), "logout": show(users.logout_url(to)), "choices": choices,
    }))
}
