//! What is measured: the same application, bare and in its wrappings, and the requests that it gets.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use futures_util::FutureExt;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use tower::Service;
use tower::layer::util::Identity;
use tower_oidc::store::{BoxFuture, Key, MemoryStore, Record, Store, StoreError, Stored, Tag, Version};
use tower_oidc::{
    Api, Clock, Config, CurrentUser, OidcLayer, ProviderConfig, Resource, SharedAccount, UserTokens, testing,
};

use tower_oidc_test_support::net::Net;
use tower_oidc_test_support::provider::LyingProvider;

const APP: &str = "https://app.test";
const ISSUER: &str = "https://op.test";
const API: &str = "https://api.test/";

/// One way to serve one kind of request. Where nothing else is said, the layer is around the router:
/// `auth.layer(app)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bare,
    /// axum's `Router::layer` with a layer that does nothing.
    NoOp,
    /// `Router::layer` with one extension, and its extractor.
    Extension,
    Anonymous,
    /// With a session cookie that cannot be one.
    Junk,
    /// With a session cookie of a session that is no more.
    Stale,
    /// So many sessions, all known to the process.
    Known(usize),
    /// The same, and the page asks for a token that the process has read before.
    Token,
    /// A client shows one of a hundred access tokens (RFC 6750), all known to the process.
    Bearer,
    /// One account for everybody, and a visitor who is not signed in.
    SingleUser,
    /// The session is in the store, and new to the process.
    FirstSight,
    /// The browser carries session and 2 KiB of tokens, and the process has seen them before.
    Stateless,
    /// The same, and the page asks for the token.
    StatelessToken,
    /// The browser carries them to a process that is new to them.
    StatelessFirst,
    StatelessTokenFirst,
    /// The layer inside: `app.layer(auth)`.
    InsideAnonymous,
    InsideKnown(usize),
}

impl Kind {
    pub fn all() -> Vec<Self> {
        let known = [100, 10_000, 1_000_000].map(Self::Known);
        let mut all = vec![Self::Bare, Self::NoOp, Self::Extension, Self::Anonymous, Self::Junk];
        all.extend(known);
        all.extend([Self::Token, Self::Bearer, Self::SingleUser]);
        all.extend([Self::Stateless, Self::StatelessToken, Self::StatelessFirst, Self::StatelessTokenFirst]);
        all.extend([Self::FirstSight, Self::Stale, Self::InsideAnonymous, Self::InsideKnown(10_000)]);
        all
    }

    pub fn name(self) -> String {
        match self {
            Self::Bare => "bare".into(),
            Self::NoOp => "no-op".into(),
            Self::Extension => "extension".into(),
            Self::Anonymous => "anonymous".into(),
            Self::Junk => "junk".into(),
            Self::Stale => "stale".into(),
            Self::Known(count) => format!("known:{count}"),
            Self::Token => "token".into(),
            Self::Bearer => "bearer".into(),
            Self::SingleUser => "single-user".into(),
            Self::FirstSight => "first-sight".into(),
            Self::Stateless => "stateless".into(),
            Self::StatelessToken => "stateless-token".into(),
            Self::StatelessFirst => "stateless-first".into(),
            Self::StatelessTokenFirst => "stateless-token-first".into(),
            Self::InsideAnonymous => "inside-anonymous".into(),
            Self::InsideKnown(count) => format!("inside-known:{count}"),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|kind| kind.name() == name)
    }

    /// How many sessions so many requests want.
    pub fn sessions(self, requests: usize) -> usize {
        match self {
            Self::Known(count) | Self::InsideKnown(count) => count,
            // Each is new once.
            Self::FirstSight => requests,
            // These are their own.
            Self::Stateless | Self::StatelessToken | Self::StatelessFirst | Self::StatelessTokenFirst => 100,
            _ => 100,
        }
    }
}

/// A layer and the people who are signed in.
pub struct Population {
    layer: OidcLayer,
    store: Counting,
    /// Of some sessions, from the whole population: more than processor caches hold, where there are so many.
    cookies: Arc<[String]>,
}

impl Population {
    pub fn of(count: usize) -> Self {
        let store = Counting::default();
        let layer = layer(&store);
        let every = count.div_ceil(50_000);
        let mut cookies = Vec::new();
        for number in 0..count {
            let cookie = start_session(&layer, number);
            if number % every == 0 {
                cookies.push(cookie);
            }
        }
        Self { layer, store, cookies: cookies.into() }
    }

    /// What is left without the layer.
    pub fn into_store(self) -> impl Store {
        self.store
    }
}

fn layer(store: &Counting) -> OidcLayer {
    OidcLayer::per_user(config(), store.clone()).expect("a valid configuration")
}

fn single_user(store: &Counting) -> OidcLayer {
    let account = SharedAccount::client_credentials();
    OidcLayer::single_user(config(), account, store.clone()).expect("a valid configuration")
}

fn config() -> Config {
    let mut config = Config::new(APP, ProviderConfig::new(ISSUER, "client").client_secret("secret"));
    config.session_secrets = vec!["a sealing secret of the benchmark".into()];
    // Under valgrind two seconds are over soon, and then sessions are not known any more.
    config.max_staleness = Duration::from_secs(24 * 60 * 60);
    config
}

fn with_api(store: &Counting) -> OidcLayer {
    let config = config().resource(Resource::new("api", API));
    OidcLayer::per_user(config, store.clone()).expect("a valid configuration")
}

fn stateless() -> OidcLayer {
    let config = config().resource(Resource::new("api", API));
    OidcLayer::stateless(config, MemoryStore::new()).expect("a valid configuration")
}

const AUDIENCE: &str = "https://app.test/api";

/// An application that accepts access tokens, and a provider that has issued a hundred.
fn with_clients(page: MethodRouter) -> (Box<dyn FnMut(Batch)>, Arc<[String]>) {
    let net = Net::new();
    let provider = LyingProvider::with_clock(&net, ISSUER, Arc::new(|| Clock::system().now().as_secs()));
    let config = config().api(Api::new(AUDIENCE)).http_client(net.http_client());
    let auth = OidcLayer::per_user(config, MemoryStore::new()).expect("a valid configuration");
    let tokens = (0..100).map(|number| {
        let token = provider.access_jwt(Some(&format!("person{number}")), AUDIENCE, |jwt| {
            jwt.claim("exp", jwt.now() + 100_000);
        });
        format!("{BEARER}{token}")
    });
    let tokens: Arc<[String]> = tokens.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for token in &*tokens {
        let answer = auth.layer(app(page.clone()).with_state(())).call(request(token));
        let answer = runtime.block_on(answer);
        assert!(answer.is_ok_and(|answer| answer.status().is_success()), "it is accepted");
    }
    (around(&auth, page), tokens)
}

/// The claims that most providers send for `openid email profile`.
fn claims(number: usize) -> serde_json::Map<String, serde_json::Value> {
    let mut claims = serde_json::Map::new();
    let mut claim = |name: &str, value: serde_json::Value| claims.insert(name.to_owned(), value);
    claim("email", format!("person{number}@example.com").into());
    claim("email_verified", true.into());
    claim("name", "Ada Lovelace".into());
    claim("given_name", "Ada".into());
    claim("family_name", "Lovelace".into());
    claims
}

fn start_session(layer: &OidcLayer, number: usize) -> String {
    let subject = format!("{number:021}");
    let started = testing::start_session(layer, ISSUER, &subject, claims(number)).now_or_never();
    started.expect("the memory store answers at once").expect("a session")
}

/// What somebody's browser carries whose access token is a JWT of 1.5 KiB and whose refresh token has 512 bytes.
fn carried(layer: &OidcLayer, number: usize) -> String {
    let subject = format!("{number:021}");
    let part = |length: usize| format!("{number:08}").repeat(length / 8);
    let access_token = format!("{}.{}.{}", part(64), part(1128), part(344));
    let started = testing::start_session_with_tokens(layer, ISSUER, &subject, claims(number), access_token, part(512));
    started.now_or_never().expect("nothing waits").expect("a session")
}

/// Requests that wait for their turn.
pub type Batch = Vec<Request<Body>>;

/// One [`Kind`], ready to serve.
pub struct Subject {
    serve: Box<dyn FnMut(Batch)>,
    store: Counting,
    cookies: Arc<[String]>,
    next: usize,
}

impl Subject {
    pub fn new(kind: Kind, population: &Population, requests: usize) -> Self {
        let Population { layer: auth, store, cookies } = population;
        if kind == Kind::Bearer {
            let (serve, cookies) = with_clients(get(somebody));
            return Self { serve, store: store.clone(), cookies, next: 0 };
        }
        let serve = match kind {
            Kind::Bare => router(app(get(nobody))),
            Kind::NoOp => router(app(get(nobody)).layer(Identity::new())),
            Kind::Extension => router(app(get(extended)).layer(Extension(Arc::new(1_u64)))),
            Kind::Anonymous | Kind::Junk | Kind::Stale => around(auth, get(anybody)),
            Kind::Known(_) => around(auth, get(somebody)),
            Kind::Token => around(&with_api(store), get(token)),
            Kind::SingleUser => around(&single_user(store), get(account)),
            Kind::Bearer => unreachable!("it has a provider of its own"),
            Kind::Stateless | Kind::StatelessFirst => around(&stateless(), get(somebody)),
            Kind::StatelessToken | Kind::StatelessTokenFirst => around(&stateless(), get(token)),
            Kind::FirstSight => {
                assert!(requests <= cookies.len(), "a session is new once");
                // Another process on the same store.
                around(&layer(store), get(somebody))
            }
            Kind::InsideAnonymous => router(app(get(anybody)).layer(auth.clone())),
            Kind::InsideKnown(_) => router(app(get(somebody)).layer(auth.clone())),
        };
        let cookie = cookies[0].split_once('=').map_or("", |(name, _)| name);
        let cookies = match kind {
            Kind::Known(_) | Kind::InsideKnown(_) | Kind::FirstSight => Arc::clone(cookies),
            Kind::Token => (0..100).map(|one| carried(&with_api(store), one)).collect(),
            Kind::Stateless | Kind::StatelessToken => (0..100).map(|one| carried(&stateless(), one)).collect(),
            Kind::StatelessFirst | Kind::StatelessTokenFirst => {
                let layer = stateless();
                (0..requests).map(|number| carried(&layer, number)).collect()
            }
            Kind::Junk => Arc::new([format!("{cookie}=not-what-a-session-looks-like-000000000000")]),
            Kind::Stale => Arc::new([format!("{cookie}={}", "A".repeat(43))]),
            _ => Arc::new(["sidebar=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned()]) as Arc<[String]>,
        };
        Self { serve, store: store.clone(), cookies, next: 0 }
    }

    /// The next requests, each of the next visitor.
    pub fn requests(&mut self, count: usize) -> Batch {
        let cookies = self.cookies.iter().cycle().skip(self.next % self.cookies.len()).take(count);
        self.next += count;
        cookies.map(|cookie| request(cookie)).collect()
    }

    pub fn serve(&mut self, requests: Batch) {
        (self.serve)(requests);
    }

    pub fn store_reads(&self) -> usize {
        self.store.reads.load(Ordering::Relaxed)
    }
}

/// `axum::serve` does the same: without it axum builds each handler anew at every request.
fn router(router: Router) -> Box<dyn FnMut(Batch)> {
    server(router.with_state(()))
}

fn around(auth: &OidcLayer, page: MethodRouter) -> Box<dyn FnMut(Batch)> {
    server(auth.layer(app(page).with_state(())))
}

fn server<S>(mut service: S) -> Box<dyn FnMut(Batch)>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + 'static,
{
    Box::new(move |requests| {
        for request in requests {
            let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).now_or_never();
            assert!(matches!(ready, Some(Ok(()))), "axum is always ready");
            let response = service.call(request).now_or_never().expect("nothing here waits");
            assert!(black_box(response).is_ok_and(|response| response.status().is_success()));
        }
    })
}

fn app(page: MethodRouter) -> Router {
    Router::new().route("/", get(nobody)).route("/page", page).route("/other/{id}", get(nobody))
}

const BEARER: &str = "Bearer ";

/// A browser's request with a cookie, or a client's with an access token.
fn request(cookie: &str) -> Request<Body> {
    if cookie.starts_with(BEARER) {
        let mut request = request("theme=light");
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(cookie).expect("a valid header"));
        return request;
    }
    let cookies = format!("theme=dark; _ga=GA1.1.1234567890.1700000000; {cookie}");
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("/page");
    let headers = request.headers_mut();
    for (name, value) in [
        (HOST, "app.test"),
        (USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"),
        (ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (ACCEPT_LANGUAGE, "en-GB,en;q=0.5"),
        (HeaderName::from_static("sec-fetch-mode"), "navigate"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(COOKIE, HeaderValue::from_str(&cookies).expect("a valid header"));
    request
}

async fn nobody() -> &'static str {
    "Hello!"
}

async fn extended(Extension(value): Extension<Arc<u64>>) -> &'static str {
    black_box(*value);
    "Hello!"
}

async fn anybody(user: Option<CurrentUser>) -> &'static str {
    assert!(user.is_none());
    "Hello!"
}

async fn token(tokens: UserTokens) -> &'static str {
    let token = tokens.access_token(API).await.expect("it is carried");
    black_box(token.expose_secret());
    "Hello!"
}

async fn somebody(user: CurrentUser) -> &'static str {
    black_box(user.subject());
    "Hello!"
}

async fn account(tokens: UserTokens) -> &'static str {
    black_box(&tokens);
    "Hello!"
}

/// The memory store, and how often it is read.
#[derive(Clone, Default)]
struct Counting {
    store: MemoryStore,
    reads: Arc<AtomicUsize>,
}

impl Store for Counting {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.store.load(key)
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        self.store.swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        self.store.find(tag)
    }

    fn delete_expired(&self, now: tower_oidc::Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.delete_expired(now)
    }

    fn is_durable(&self) -> bool {
        false
    }
}
