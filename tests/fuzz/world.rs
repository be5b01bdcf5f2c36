//! The application, its provider that can lie, and alice's browser.

use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower_oidc::{Config, CurrentUser, Error, FetchUserInfo, OidcLayer, ProviderConfig, Resource, UserTokens};
use tower_oidc_test_support::browser::Browser;
use tower_oidc_test_support::clock::TestClock;
use tower_oidc_test_support::net::Net;
use tower_oidc_test_support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use tower_oidc_test_support::resource::ResourceServer;
use tower_oidc_test_support::store::WatchedStore;
use tower_oidc_test_support::test_store::TestStore;
use url::Url;

pub(crate) const APP: &str = "https://app.test";
pub(crate) const OP: &str = "https://op.test";
pub(crate) const API: &str = "https://api.test";
pub(crate) const SESSION: &str = "__Host-tower-oidc-session";
/// Who alice is at the provider.
pub(crate) const ALICE: &str = "a1";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    PerUser,
    Stateless,
}

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) clock: TestClock,
    pub(crate) op: LyingProvider,
    pub(crate) api: ResourceServer,
    pub(crate) store: WatchedStore,
    /// Signed in as alice.
    pub(crate) alice: Browser,
    mode: Mode,
}

impl World {
    pub(crate) async fn new(mode: Mode) -> Self {
        let net = Net::new();
        let clock = TestClock::new();
        let op = LyingProvider::start(&net, OP, &clock);
        op.set(|settings| settings.id_token_on_refresh = true);
        let api = ResourceServer::start(&net, API, op.resource_owners());
        let alice = Browser::new(&net, &clock);
        let world = Self { net, clock, op, api, store: WatchedStore::new(TestStore::new()), alice, mode };
        world.restart();
        world.op.sign_in_as("alice");
        let page = world.alice.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.json()["sub"], ALICE, "an honest login");
        world
    }

    /// The application starts again: it knows neither metadata nor keys.
    pub(crate) fn restart(&self) {
        let provider = ProviderConfig::new(OP, CLIENT_ID).client_secret(CLIENT_SECRET);
        let mut config = Config::new(APP, provider.fetch_user_info(FetchUserInfo::Always))
            .resource(Resource::new("cal", format!("{API}/cal/")))
            .http_client(self.net.http_client())
            .clock(self.clock.readings());
        config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
        config.frontchannel_logout = self.mode == Mode::PerUser;
        let layer = match self.mode {
            Mode::PerUser => OidcLayer::per_user(config, self.store.clone()),
            Mode::Stateless => OidcLayer::stateless(config, self.store.clone()),
        };
        self.net.serve_service(APP, layer.unwrap_or_else(|error| panic!("{error}")).layer(routes()));
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.net, &self.clock)
    }

    /// Whoever is signed in there.
    pub(crate) async fn who(&self, browser: &Browser) -> Option<String> {
        let response = browser.raw_with_cookies(Request::get(format!("{APP}/who")).body(Bytes::new()).unwrap()).await;
        subject(&check(APP, &response, &[200, 503]))
    }

    /// Somebody signs in, by redirects alone; what the last answer was.
    pub(crate) async fn sign_in(&self, browser: &Browser, login: &str, allowed: &[u16]) -> Response<Bytes> {
        let mut url = login.to_owned();
        for _ in 0..8 {
            let request = Request::get(url.as_str()).body(Bytes::new()).expect("a URL");
            let response = browser.raw_with_cookies(request).await;
            if url.starts_with(APP) {
                check(&url, &response, allowed);
            }
            let location = response.headers().get("location").map(|to| to.to_str().expect("text").to_owned());
            match location {
                Some(to) => url = Url::parse(&url).unwrap().join(&to).expect("a URL").into(),
                None => return response,
            }
            if !url.starts_with(APP) && !url.starts_with(&format!("{OP}/")) {
                return response;
            }
        }
        panic!("redirects without end: {url}");
    }
}

fn subject(body: &str) -> Option<String> {
    serde_json::from_str::<Value>(body).ok()?["sub"].as_str().map(str::to_owned)
}

/// What must be true of every answer of the application; its body.
pub(crate) fn check(asked: &str, response: &Response<Bytes>, allowed: &[u16]) -> String {
    let status = response.status();
    let about = || format!("{asked}: {status} {:?} {:?}", response.headers(), response.body());
    assert!(
        !status.is_server_error() || allowed.contains(&status.as_u16()),
        "an answer that is our mistake: {}",
        about()
    );
    if let Some(location) = response.headers().get("location") {
        let location = location.to_str().unwrap_or_else(|_| panic!("no text: {}", about()));
        let to = Url::parse(APP).unwrap().join(location).unwrap_or_else(|_| panic!("no URL: {}", about()));
        let origin = to.origin().ascii_serialization();
        assert!([APP, OP].contains(&origin.as_str()), "a redirect to another origin: {}", about());
    }
    for set in response.headers().get_all("set-cookie") {
        let set = set.to_str().unwrap_or_else(|_| panic!("no text: {}", about()));
        assert!(set.starts_with("__Host-tower-oidc") || set.starts_with("__Secure-tower-oidc"), "{}", about());
    }
    let body = String::from_utf8_lossy(response.body()).into_owned();
    let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap_or("?"));
    assert!(!kind.starts_with("text/html") || !body.contains("<xss"), "markup of somebody else's: {}", about());
    body
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "home" }))
        .route("/who", get(who))
        .route("/private", get(private).post(private))
        .route("/tok", get(token))
        .route("/fetch", get(fetch))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "nothing here") })
}

async fn who(user: Option<CurrentUser>) -> Json<Value> {
    Json(user.map_or(Value::Null, |user| json!({ "sub": user.subject() })))
}

async fn private(user: CurrentUser) -> Json<Value> {
    Json(json!({ "sub": user.subject() }))
}

async fn token(tokens: UserTokens) -> Result<String, Error> {
    Ok(tokens.access_token(&format!("{API}/cal/")).await?.expose_secret().to_owned())
}

async fn fetch(tokens: UserTokens) -> Result<String, Error> {
    let response = tokens.client().get(&format!("{API}/cal/x")).await?;
    Ok(String::from_utf8_lossy(response.bytes()).into_owned())
}
