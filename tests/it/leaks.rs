//! Nothing leaks, also into the TRACE logs of this crate and of everything below it.
//!
//! The provider, an API and the application talk over real sockets here, so that the HTTP client, the server
//! and the runtime log what they would log in production.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::net::TcpListener;
use tower_oidc::store::{Key, Store, Tag};
use tower_oidc::{
    AuthSession, Clock, Config, CurrentUser, OidcLayer, ProviderConfig, Random, RequireLayer, Resource, Secret,
    UserTokens,
};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::app::{API, APP, Events, OP, World, config, logout_link, routes};
use crate::support::browser::Browser;
use crate::support::clock::TestClock;
use crate::support::fault::Fault;
use crate::support::http::Client;
use crate::support::net::{Caller, Net};
use crate::support::process::{app_url, free_port};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, Endpoint, LyingProvider};
use crate::support::random::SHORTEST;
use crate::support::resource::ResourceServer;
use crate::support::socket::expose;
use crate::support::test_store::TestStore;

const SEALING: &str = "a sealing secret of the tests, 32 bytes+";

/// Everything that is logged on this thread while the guard lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        // `tracing` remembers for each place in the code whether anybody listens. With a listener for the whole
        // process, who hears everything and keeps nothing, other tests' threads cannot make it remember "nobody".
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry()).expect("nobody else sets it");
        });
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What must appear nowhere.
#[derive(Default)]
pub(crate) struct Secrets(BTreeSet<String>, BTreeSet<Vec<u8>>);

impl Secrets {
    /// From everything that was said on the network, and from what the provider knows.
    pub(crate) fn of(net: &Net, op: &LyingProvider) -> Self {
        let mut secrets: BTreeSet<String> = op.secrets().into_iter().collect();
        secrets.extend([CLIENT_SECRET, SEALING].map(str::to_owned));
        for request in op.token_requests() {
            secrets.extend(request.params.get("code_verifier").map(str::to_owned));
        }
        for exchange in net.exchanges() {
            secrets.extend(exchange.header("authorization").and_then(|h| h.split(' ').nth(1)).map(str::to_owned));
            let Some(answer) = exchange.answer else { continue };
            for set in answer.headers.get_all("set-cookie") {
                let value = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap().1;
                secrets.insert(value.to_owned());
            }
            if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body) {
                secrets.extend(body["id_token"].as_str().map(str::to_owned));
            }
        }
        secrets.retain(|secret| secret.len() > SHORTEST);
        Self(secrets, BTreeSet::new())
    }

    /// A part of a secret counts too: the last half is what nobody else has.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn add<const N: usize>(&mut self, more: [&str; N]) {
        assert!(more.iter().all(|text| text.len() >= SHORTEST), "chance could produce one of them: {more:?}");
        self.0.extend(more.map(str::to_owned));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len() + self.1.len()
    }

    /// Adds what those that are base64url stand for: a database may keep bytes.
    pub(crate) fn decode(&mut self) {
        let decoded = self.0.iter().filter_map(|secret| URL_SAFE_NO_PAD.decode(secret).ok());
        // Lines are searched for.
        self.1 = decoded.filter(|bytes| bytes.len() > SHORTEST && !bytes.contains(&b'\n')).collect();
    }

    /// One a line.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let texts = self.0.iter().map(String::as_bytes).chain(self.1.iter().map(Vec::as_slice));
        texts.flat_map(|text| [text, b"\n"].concat()).collect()
    }

    fn assert_absent(&self, what: &str, text: &str) {
        assert!(self.0.len() > 10, "there is something to look for");
        for secret in &self.0 {
            let count = secret.chars().count();
            let part: String = secret.chars().skip((count / 2).min(count.saturating_sub(SHORTEST))).collect();
            if let Some((before, _)) = text.split_once(&part) {
                let around: String = before.chars().skip(before.chars().count().saturating_sub(300)).collect();
                panic!("{what} holds {secret}: …{around}{part}");
            }
        }
    }
}

/// Logins, refreshes and logouts, and each of them failing in several ways.
pub(crate) async fn a_busy_day(world: &World) {
    world.net.fault(OP, "", Fault::Status(500));
    assert_eq!(world.browser().navigate(&format!("{APP}/auth/login")).await.status, 503);
    world.net.heal(OP);
    world.clock.advance(Duration::from_secs(10));
    let alice = world.signed_in("alice").await;
    let bob = world.signed_in("bob").await;
    let fetch = |browser: &Browser| {
        let browser = browser.new_tab();
        async move { browser.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await.status.as_u16() }
    };
    assert_eq!((fetch(&alice).await, fetch(&bob).await), (200, 200));
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(fetch(&alice).await, 200);
    world.api.refuse("/cal/", 1, "Bearer error=\"invalid_token\"");
    assert_eq!(fetch(&alice).await, 200);
    alice.navigate(&format!("{APP}/fetch?u=https://evil.test/")).await;
    world.clock.advance(Duration::from_secs(3700));
    for fault in [Fault::Status(503), Fault::Refuse, Fault::Garbage] {
        world.net.fault(OP, "/token", fault);
        alice.navigate(&format!("{APP}/tok")).await;
        world.net.heal(OP);
        world.clock.advance(Duration::from_secs(5));
    }
    world.op.answer_error(Endpoint::Refresh, 400, "invalid_grant");
    alice.step(&format!("{APP}/tok")).await;
    world.op.honest();
    world.op.edit_id_token(|token| {
        token.claim("nonce", "another");
    });
    world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
    world.op.honest();
    world.op.answer_error(Endpoint::Token, 401, "invalid_client");
    world.browser().visit(&format!("{APP}/auth/login")).await;
    world.op.honest();
    world.op.set(|settings| settings.deny = true);
    world.browser().visit(&format!("{APP}/auth/login")).await;
    world.op.set(|settings| settings.deny = false);
    let callback = world.net.requests_to(APP, "/auth/callback")[0].url();
    for browser in [&world.browser(), &alice] {
        assert_eq!(browser.navigate(&callback).await.status, 400);
    }
    alice.fetch(http::Method::POST, &format!("{APP}/private"), "", "https://other.app.test").await;
    for browser in [&alice, &bob] {
        browser.visit(&logout_link(browser, "/bye").await).await;
    }
    world.app.layer.drain().await;
}

/// In one process: logs, what people and scripts see, addresses and referrers.
#[tokio::test]
async fn nothing_leaks() {
    let (log, _guard) = Log::listen();
    let world = World::with(|mut config| {
        config.provider.revoke_at_logout = true;
        config
    });
    a_busy_day(&world).await;
    let secrets = Secrets::of(&world.net, &world.op);
    let text = log.text();
    secrets.assert_absent("the log", &text);
    for code in [
        "login.started",
        "login.succeeded",
        "login.refused",
        "logout.succeeded",
        "refresh.succeeded",
        "refresh.failed",
        "refresh.refused",
        "provider.metadata",
        "provider.key_set",
        "provider.failed",
        "request.cross_site",
    ] {
        assert!(text.contains(&format!("code=\"{code}\"")), "the log says {code}");
        assert!(world.app.events.all().iter().any(|event| event.code.as_str() == code), "the hook too: {code}");
    }
    secrets.assert_absent("an event", &format!("{:?}", world.app.events.all()));
    for exchange in world.net.exchanges() {
        let referrer = exchange.header("referer").unwrap_or_default();
        secrets.assert_absent("a Referer header", referrer);
        assert!(!referrer.contains("state=") && !referrer.contains("token="), "{referrer}");
        let is_exception = matches!(exchange.path.as_str(), "/auth/callback" | "/end_session");
        if !is_exception {
            secrets.assert_absent("a URL", &exchange.url());
        }
        let Some(answer) = exchange.answer.filter(|_| exchange.caller == Caller::Browser) else { continue };
        // `/tok` shows the token on purpose.
        if exchange.origin == APP && !(exchange.path == "/tok" && answer.status == 200) {
            secrets.assert_absent("a page", &String::from_utf8_lossy(&answer.body));
        }
    }
}

/// The exceptions hold one thing each.
#[tokio::test]
async fn the_two_addresses_that_carry_something() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    browser.visit(&logout_link(&browser, "/bye").await).await;
    for (path, allowed) in [("/auth/callback", "code"), ("/end_session", "id_token_hint")] {
        let exchange = world.net.exchanges().into_iter().find(|exchange| exchange.path == path).unwrap();
        let mut params = exchange.query_params();
        assert!(params.has(allowed));
        params.remove(allowed);
        Secrets::of(&world.net, &world.op).assert_absent(path, &params.encode());
    }
}

/// Over sockets: hyper's, tokio's and axum's own TRACE.
#[tokio::test]
async fn nothing_leaks_from_what_is_below() {
    let (log, _guard) = Log::listen();
    let (net, clock) = (Net::new(), TestClock::new());
    let [op_at, api_at] = [(); 2].map(|()| app_url(free_port()));
    let app_socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app_at = format!("http://{}", app_socket.local_addr().unwrap());
    let op = LyingProvider::start(&net, &op_at, &clock);
    let api = ResourceServer::start(&net, &api_at, op.resource_owners());
    expose(&net, &op_at).await;
    expose(&net, &api_at).await;
    let events = Events::default();
    let mut config = Config::new(&app_at, ProviderConfig::new(&op_at, CLIENT_ID).client_secret(CLIENT_SECRET))
        .resource(Resource::new("cal", format!("{api_at}/cal/")))
        .clock(clock.readings())
        .on_event(events.hook());
    config.session_secrets = vec![SEALING.into()];
    let layer = OidcLayer::per_user(config, TestStore::new()).unwrap();
    let app = routes().layer(layer.clone());
    tokio::spawn(async move { axum::serve(app_socket, app).await });

    op.sign_in_as("alice");
    let mut browser = Client::new();
    assert_eq!(browser.visit(&format!("{app_at}/auth/login?return_to=/who")).await.json()["sub"], "a1");
    let data = format!("{app_at}/fetch?u={api_at}/cal/x");
    assert_eq!(browser.visit(&data).await.json()["owner"], "alice");
    clock.advance(Duration::from_secs(3700));
    assert_eq!(browser.visit(&data).await.json()["owner"], "alice");
    assert_eq!(op.refreshes().len(), 1);
    api.refuse_always("/cal/", "Bearer");
    assert!(browser.visit(&data).await.status.is_client_error());
    let links = browser.visit(&format!("{app_at}/links?to=/bye")).await.json();
    let cookies: Vec<String> = browser.cookies("127.0.0.1").map(|(_, value)| value.to_owned()).collect();
    browser.visit(&format!("{app_at}{}", links["logout"]["ok"].as_str().unwrap())).await;
    layer.drain().await;

    let mut secrets = Secrets::of(&net, &op);
    secrets.0.extend(cookies.into_iter().filter(|value| value.len() > 8));
    let text = log.text();
    secrets.assert_absent("the log", &text);
    for target in ["tower_oidc", "hyper_util"] {
        assert!(text.contains(&format!(" {target}")), "{target} is heard");
    }
    assert!(text.contains("TRACE"), "everything is heard");
    assert!(events.has(tower_oidc::EventCode::RefreshSucceeded));
}

type Shown = Arc<Mutex<Vec<String>>>;

fn show(shown: &Shown, value: &dyn Debug) {
    shown.lock().unwrap().push(format!("{value:?} {value:#?}"));
}

/// Every public type's `Debug`, holding real secrets.
#[tokio::test]
async fn debug_shows_no_secret() {
    let shown = Shown::default();
    let heard = Arc::clone(&shown);
    let world = World::with(move |mut config| {
        config.login_grant_lifetime = tower_oidc::GrantLifetime::Session;
        config.on_login(move |login| {
            show(&heard, &login);
            async { tower_oidc::LoginDecision::Allow }
        })
    });
    let (inside, url) = (Arc::clone(&shown), format!("{API}/cal/x"));
    let debug = move |user: CurrentUser, tokens: UserTokens, users: AuthSession| async move {
        let (token, client) = (tokens.access_token(&url).await.unwrap(), tokens.client());
        let (layer, list) = (tokens.layer(), tokens.connections().await.unwrap());
        let response = client.get(&url).await.unwrap();
        let refused = tokens.access_token("https://evil.test/").await.unwrap_err();
        let values: [&dyn Debug; 10] =
            [&user, &tokens, &users, &token, &client, &layer, &list, &refused, &refused.to_string(), &response];
        values.into_iter().for_each(|value| show(&inside, value));
        show(&inside, &std::error::Error::source(&refused).map(ToString::to_string));
    };
    world.serve(routes().route("/debug", get(debug)));
    let browser = world.signed_in("alice").await;
    assert_eq!(browser.navigate(&format!("{APP}/debug")).await.status, 200);
    let config = config(&world.net, &world.clock);
    let mut twice = config.clone();
    twice.session_secrets.push(SEALING.into());
    let layer = &world.app.layer;
    let store = &world.app.store;
    let service = layer.layer(routes());
    let refused = OidcLayer::per_user(twice, TestStore::new());
    let stored = store.load(Key([0; 32])).await;
    let values: [&dyn Debug; 13] = [
        &config,
        layer,
        store,
        &service,
        &layer.endpoints(),
        &refused.unwrap_err(),
        &RequireLayer::login(),
        &Secret::from(SEALING),
        &Random::system(),
        &Clock::system(),
        &Tag([7; 32]),
        &stored,
        &world.app.events.all(),
    ];
    values.into_iter().for_each(|value| show(&shown, value));
    let all = shown.lock().unwrap().join("\n");
    for expected in
        ["CurrentUser", "UserTokens", "AccessToken", "AddAccessToken", "ApiResponse", "Config", "VerifiedLogin"]
    {
        assert!(all.contains(expected), "{expected} was shown");
    }
    Secrets::of(&world.net, &world.op).assert_absent("Debug", &all);
}

/// What an API says in confidence is not printed either.
#[tokio::test]
async fn debug_of_an_answer_shows_neither_its_body_nor_its_cookies() {
    let world = World::new();
    let shown = Shown::default();
    world.net.serve(API, |_| async {
        let mut answer = crate::support::net::answer(200, r#"{"api_key":"the API's own secret"}"#);
        answer.headers_mut().insert("set-cookie", "api=secret-cookie".parse().unwrap());
        answer
    });
    let inside = Arc::clone(&shown);
    let debug = move |tokens: UserTokens| async move {
        show(&inside, &tokens.client().get(&format!("{API}/cal/x")).await.unwrap());
    };
    world.serve(routes().route("/debug", get(debug)));
    let browser = world.signed_in("alice").await;
    browser.navigate(&format!("{APP}/debug")).await;
    let shown = shown.lock().unwrap().join("");
    assert!(shown.contains("200") && !shown.contains("secret"), "{shown}");
}

/// Problem documents of every kind say who must act, and nothing of what went wrong inside.
#[tokio::test]
async fn problem_documents_are_for_strangers() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(3700));
    let secrets = Secrets::of(&world.net, &world.op);
    world.net.fault(OP, "/token", Fault::Refuse);
    for path in ["/tok", "/fetch?u=https://evil.test/", "/fetch?u=https://api.test/other", "/admin"] {
        let page = browser.fetch(http::Method::GET, &format!("{APP}{path}"), "", APP).await;
        assert!(page.status.is_client_error() || page.status.is_server_error(), "{path}: {}", page.status);
        secrets.assert_absent(path, &format!("{:?} {}", page.headers, page.text()));
        if page.status.is_server_error() {
            let problem = page.json();
            assert!(problem.get("detail").is_none() && problem["code"].is_string(), "{problem}");
        }
    }
}
