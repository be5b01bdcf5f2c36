//! Whether requests of one session get in each other's way on several threads.
//!
//! ```text
//! cargo bench -p tower-oidc-benches --bench threads
//! ```
//!
//! Each thread has a runtime of its own, and serves requests one after the other: all of one session, which the process knows;
//! each of a session of its own; axum's router without a layer. The table has how often as many requests are answered as on one
//! thread, the median of some rounds.
//!
//! # Figures
//!
//! On two cores, the medians and the ranges of seven runs:
//!
//! | threads | one session | sessions of their own | axum's router alone |
//! |---|---|---|---|
//! | 2 | 1.42 (1.21 to 1.73) | 1.76 (1.47 to 1.95) | 1.88 (1.21 to 2.17) |
//!
//! All requests count references to the same layer, and those of one session also to the same session, whose cache lines then
//! move from one core to the other. No lock is held while a request is served. A session whose requests come on all cores at
//! once is rare: a browser sends six at a time, and waits for the network most of it.

use std::num::NonZero;
use std::sync::Barrier;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::{COOKIE, HOST};
use http::{Request, StatusCode};
use tower::ServiceExt;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, CurrentUser, Oidc, OidcLayer, ProviderConfig, testing};

const PROVIDER: &str = "https://op.example";
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 25;

fn main() {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut config = Config::new("https://app.example", ProviderConfig::new(PROVIDER, "app").client_secret("secret"));
    config.session_secrets = vec!["a sealing secret of the benchmark".into()];
    let layer = OidcLayer::per_user(config, MemoryStore::new()).expect("a valid configuration");
    let user = async |user: CurrentUser| user.subject().to_owned();
    let app: Oidc<Router> = layer.layer(Router::new().route("/", get(user)).with_state(()));
    let bare: Router = Router::new().route("/", get(async || "somebody".to_owned()));
    let cookies: Vec<String> = runtime().block_on(async {
        let mut cookies = Vec::new();
        for number in 0..processors {
            let subject = number.to_string();
            let started = testing::start_session(&layer, PROVIDER, &subject, serde_json::Map::new()).await;
            cookies.push(started.expect("a session"));
        }
        cookies
    });
    let ask = async |cookie: &str| {
        let response = app.clone().oneshot(request(cookie)).await;
        assert_eq!(response.unwrap_or_else(|never| match never {}).status(), StatusCode::OK, "a session");
    };
    let alone = async |cookie: &str| drop(bare.clone().oneshot(request(cookie)).await);
    println!("| threads | one session | sessions of their own | axum's router alone |\n|---|---|---|---|");
    for threads in 1..=processors {
        let one = speed_up(threads, &async |_| ask(&cookies[0]).await);
        let own = speed_up(threads, &async |thread: usize| ask(&cookies[thread]).await);
        let bare = speed_up(threads, &async |thread: usize| alone(&cookies[thread]).await);
        println!("| {threads} | {one:.2} | {own:.2} | {bare:.2} |");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime")
}

fn request(cookie: &str) -> Request<Body> {
    let request = Request::get("/").header(HOST, "app.example").header(COOKIE, cookie);
    request.body(Body::empty()).expect("a valid request")
}

fn speed_up(threads: usize, run: &(impl AsyncFn(usize) + Sync)) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| rate(threads, run) / rate(1, run)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Requests a second of all threads together.
fn rate(threads: usize, run: &(impl AsyncFn(usize) + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let serve = |thread: usize| {
            let barrier = &barrier;
            move || {
                runtime().block_on(async {
                    barrier.wait();
                    let began = now();
                    for _ in 0..REQUESTS {
                        run(thread).await;
                    }
                    REQUESTS as f64 / began.elapsed().as_secs_f64()
                })
            }
        };
        let working: Vec<_> = (0..threads).map(|thread| scope.spawn(serve(thread))).collect();
        working.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    })
}

#[expect(clippy::disallowed_methods, reason = "what is measured is the time")]
fn now() -> Instant {
    Instant::now()
}
