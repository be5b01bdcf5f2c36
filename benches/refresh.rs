//! How many token requests the provider receives when many requests find one access token expired: one for each user.
//!
//! ```text
//! cargo bench -p tower-oidc-benches --bench refresh
//! ```
//!
//! The application, the layer and the development provider run in this process on several threads; only the clock
//! is moved by hand. Every user signs in as a browser does, the access tokens expire, and all requests start at once. The
//! benchmark fails if the provider receives more token requests, if a request gets no token, or if it gets the token of
//! another user.
//!
//! # Figures
//!
//! 1,000 simultaneous requests of one user make one token request. 20 users with 15 requests each make 20 token requests.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::routing::get;
use axum::{Router, response::Response};
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Barrier;
use tower::ServiceExt;
use tower_oidc::dev_provider::{DevProvider, ScriptedLogin};
use tower_oidc::store::MemoryStore;
use tower_oidc::{
    ApiBody, Clock, Config, CurrentUser, Error, Oidc, OidcLayer, ProviderConfig, Resource, Timestamp, UserTokens,
};

const APP: &str = "http://localhost:3000";
const PROVIDER: &str = "http://localhost:4000";
const API: &str = "https://api.test/calendar/";

/// The life of an access token.
const LIFE: Duration = Duration::from_secs(60);
/// How long the provider takes: everybody else arrives meanwhile.
const DELAY: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> ExitCode {
    println!("| people × requests | token requests (expected) | good answers | threads | ms |\n|---|---|---|---|---|");
    let mut passed = true;
    for (people, requests) in [(1, 1_000), (20, 15)] {
        passed &= World::new().crowd(people, requests).await;
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct World {
    app: Oidc<Router>,
    provider: DevProvider,
    milliseconds: Arc<AtomicU64>,
    refreshes: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        let milliseconds = Arc::new(AtomicU64::new(1_767_225_600_000));
        let time = Arc::clone(&milliseconds);
        let clock = Clock::from_fn(move || Timestamp::from_millis(time.load(Ordering::SeqCst)));
        let callback = format!("{APP}/auth/callback");
        let provider = DevProvider::new(PROVIDER)
            .expect("a loopback issuer")
            .client("app", Some("secret"), &[&callback], &[APP])
            .clock(clock.clone())
            .access_token_lifetime(LIFE);
        let refreshes = Arc::new(AtomicUsize::new(0));
        let (asked, counted) = (provider.clone(), Arc::clone(&refreshes));
        let outbound = tower::service_fn(move |request: Request<Bytes>| {
            let (provider, refreshes) = (asked.clone(), Arc::clone(&counted));
            async move {
                if memchr::memmem::find(request.body(), b"grant_type=refresh_token").is_some() {
                    refreshes.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(DELAY).await;
                }
                Ok::<_, Error>(provider.handle(request).map(ApiBody::from))
            }
        });
        let config = Config::new(APP, ProviderConfig::new(PROVIDER, "app").client_secret("secret"))
            .resource(Resource::new("calendar", API))
            .http_client(outbound)
            .clock(clock);
        let auth = OidcLayer::per_user(config, MemoryStore::new()).expect("a valid configuration");
        let app = auth.layer(Router::new().route("/token", get(token)).with_state(()));
        Self { app, provider, milliseconds, refreshes }
    }

    /// So many people with so many requests each, all at once and with expired tokens.
    async fn crowd(self, people: usize, requests: usize) -> bool {
        let mut cookies = Vec::new();
        for number in 0..people {
            cookies.push(self.sign_in(&format!("person{number}@example.com")).await);
        }
        let before: HashSet<String> =
            join_all(cookies.iter().map(|cookie| self.ask(cookie))).await.into_iter().flatten().collect();
        assert_eq!(before.len(), people, "everybody has a token of their own");
        assert_eq!(self.refreshes.load(Ordering::SeqCst), 0, "and it is fresh");
        self.milliseconds.fetch_add(2 * LIFE.as_millis() as u64, Ordering::SeqCst);

        #[expect(clippy::disallowed_methods, reason = "what is measured is the time")]
        let start = Instant::now();
        let together = Arc::new(Barrier::new(people * requests));
        let world = Arc::new(self);
        // Everybody's first request, then everybody's second, …
        let crowd = (0..people * requests).map(|number| {
            let (world, together) = (Arc::clone(&world), Arc::clone(&together));
            let cookie = cookies[number % people].clone();
            tokio::spawn(async move {
                together.wait().await;
                (number % people, world.ask(&cookie).await)
            })
        });
        let mut tokens: Vec<HashSet<String>> = vec![HashSet::new(); people];
        let mut good = 0;
        for answer in join_all(crowd.collect::<Vec<_>>()).await {
            let (person, token) = answer.expect("no request panics");
            if let Some(token) = token.filter(|token| !before.contains(token)) {
                good += 1;
                tokens[person].insert(token);
            }
        }
        let refreshes = world.refreshes.load(Ordering::SeqCst);
        println!(
            "| {people} × {requests} | {refreshes} ({people}) | {good} | {} | {} |",
            tokio::runtime::Handle::current().metrics().num_workers(),
            start.elapsed().as_millis(),
        );
        let one_each = tokens.iter().all(|tokens| tokens.len() == 1);
        one_each && refreshes == people && good == people * requests
    }

    /// A person signs in; the value of a `Cookie` header.
    async fn sign_in(&self, email: &str) -> String {
        let answer = ScriptedLogin::SignIn { email: email.to_owned(), admin: false };
        self.provider.script(Some(answer));
        let started = self.get("/auth/login", "").await;
        let pending = cookies(started.headers());
        let authorization = Request::get(location(&started)).header(HOST, "localhost:4000");
        let authorized = self.provider.handle(authorization.body(Bytes::new()).expect("a valid request"));
        let callback = location(&authorized);
        let path = callback.strip_prefix(APP).expect("the way back to the application");
        let finished = self.get(path, &pending).await;
        assert_eq!(finished.status(), StatusCode::SEE_OTHER, "{email} signs in");
        cookies(finished.headers())
    }

    /// The person's token; `None` where the answer is an error, or the token somebody else's.
    async fn ask(&self, cookie: &str) -> Option<String> {
        let response = self.get("/token", cookie).await;
        let good = response.status() == StatusCode::OK;
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        let (subject, token) = text.split_once(' ').filter(|_| good)?;
        let owner = self.provider.inspect(token)?;
        (owner.subject == subject).then(|| token.to_owned())
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        let request = Request::get(path).header(HOST, "localhost:3000").header(COOKIE, cookie);
        let request = request.body(Body::empty()).expect("a valid request");
        match self.app.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

async fn token(user: CurrentUser, tokens: UserTokens) -> Result<String, Error> {
    let token = tokens.access_token(API).await?;
    Ok(format!("{} {}", user.subject(), token.expose_secret()))
}

fn location<B>(response: &http::Response<B>) -> String {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    location.unwrap_or_else(|| panic!("a redirect instead of {}", response.status())).to_owned()
}

/// What a browser would send back: every cookie that is set and not removed.
fn cookies(headers: &HeaderMap) -> String {
    let set = headers.get_all(SET_COOKIE).iter().filter_map(|set| set.to_str().ok()?.split(';').next());
    set.filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; ")
}
