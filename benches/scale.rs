//! How cost grows: sessions from 100 to 1,000,000 on each store, and replicas from 1 to 8.
//!
//! ```text
//! cargo bench -p tower-oidc-benches --bench scale -- [--most 1000000] [store ...]     memory, SQLite, PostgreSQL, Redis
//! ```
//!
//! Sessions are started as a login starts them. Then, in rounds: a request of a session that the process knows; a request of
//! a session that is new to the process, which reads the store once; a whole login at the development provider in process,
//! which writes the session and its grant; a request whose access token has expired, so that its grant is leased, refreshed
//! and written. Each login is another user's. Requests run one after the other; logins, refreshes and what replicas do run 16
//! at once. Replicas are layers of their own over one store, in this process: what they share beside the store is the
//! processor.
//!
//! # Figures
//!
//! Two cores, which the databases share with the benchmark; each database with its settings as they come, on one machine. From
//! one run to the next they differ by a third, so that a column shows how cost grows, and not how fast a store is.
//!
//! | store | sessions | known, µs | new to the process, µs | started a second | logins a second | refreshes a second | bytes each |
//! |---|---|---|---|---|---|---|---|
//! | memory | 100 | 2.9 | 8.9 | 63,977 | 2,655 | 2,759 | 2,684 |
//! | memory | 10,000 | 2.9 | 9.9 | 56,631 | 2,490 | 2,851 | 2,507 |
//! | memory | 1,000,000 | 3.3 | 9.1 | 56,500 | 2,945 | 3,964 | 1,320 |
//! | memory | 10,000,000 | 2.9 | 11.2 | 49,699 | – | – | 759 |
//! | SQLite | 100 | 2.7 | 31.1 | 4,445 | 1,139 | 1,107 | 328 |
//! | SQLite | 10,000 | 2.6 | 32.7 | 6,766 | 940 | 1,306 | 603 |
//! | SQLite | 1,000,000 | 5.7 | 49.7 | 5,061 | 659 | 793 | 407 |
//! | PostgreSQL | 100 | 4.0 | 154.7 | 361 | 780 | 696 | 1,393 |
//! | PostgreSQL | 10,000 | 2.9 | 103.6 | 5,408 | 1,017 | 1,089 | 806 |
//! | PostgreSQL | 1,000,000 | 5.8 | 110.9 | 6,664 | 895 | 898 | 518 |
//! | Redis | 100 | 3.6 | 61.7 | 7,297 | 884 | 1,098 | 3,152 |
//! | Redis | 10,000 | 2.8 | 32.9 | 11,622 | 1,281 | 1,478 | 999 |
//! | Redis | 1,000,000 | 3.1 | 56.5 | 8,582 | 1,420 | 2,023 | 697 |
//!
//! - A request of a known session does not depend on the number of sessions: 2.6 to 3.3 µs. Where it is 5.7 µs, the database
//!   was most likely still writing what had been filled in just before.
//! - A session that is new to the process costs one read. In SQLite it grows by half from ten thousand to a million sessions:
//!   400 MB no longer fit into the cache of a connection (2 MiB, SQLite's default), and each page is a system call. In PostgreSQL
//!   and Redis it does not grow.
//! - Logins and refreshes in SQLite fall by a third at a million sessions, most likely for the same reason: each writes two rows
//!   and their tags. An operator gives the connections a larger cache (`SqliteStore::open_with`), or takes a database that is a server.
//! - The first hundred sessions bear the cost of what is there once: tables, indexes, caches of the process, connections (of
//!   PostgreSQL, which are made one after the other: 361 sessions a second). In memory, the copies of sessions that avoid store
//!   reads are among the bytes; they are bounded, and at ten million sessions the row alone is left.
//! - Eight replicas in one process over one store do together what one does, on each store: no replica waits for another, and
//!   the two cores are what they share. Logins a second with one and with eight: SQLite 609 and 590, PostgreSQL 470 and 454,
//!   Redis 1,975 and 1,845.

#![expect(unreachable_pub, reason = "a program of several files")]

#[expect(dead_code, reason = "another benchmark compares with its round trips")]
#[path = "support/store_subjects.rs"]
mod subjects;

use std::alloc::System;
use std::env;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::routing::get;
use axum::{Router, response::Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tower::ServiceExt;
use tower_oidc::dev_provider::{DevProvider, ScriptedLogin};
use tower_oidc::store::Store;
use tower_oidc::{
    ApiBody, Clock, Config, CurrentUser, Error, Oidc, OidcLayer, ProviderConfig, Resource, UserTokens, testing,
};

use subjects::Subject;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const APP: &str = "http://localhost:3000";
const PROVIDER: &str = "http://localhost:4000";
const API: &str = "https://api.test/calendar/";
/// Requests and logins of one measurement.
const KNOWN: usize = 20_000;
const NEW: usize = 2_000;
const LOGINS: usize = 500;
/// The life of an access token.
const LIFE: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 16;
const REPLICAS: [usize; 4] = [1, 2, 4, 8];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let at = arguments.iter().position(|argument| argument == "--most");
    let most = at.map_or(1_000_000, |at| arguments[at + 1].parse().expect("--most takes a number"));
    let named = |name: &str| arguments.iter().any(|argument| argument.eq_ignore_ascii_case(name));
    let all = !["memory", "SQLite", "PostgreSQL", "Redis"].into_iter().any(named);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime").block_on(async {
        println!(
            "| store | sessions | known, µs | new to the process, µs | started a second | logins a second | \
             refreshes a second | bytes each |\n|---|---|---|---|---|---|---|---|"
        );
        for start in subjects::ALL {
            let Some(subject) = start(ALLOCATOR).await else { continue };
            if all || named(subject.name) {
                sessions(&subject, most).await;
            }
        }
        println!(
            "\n| store | replicas | new to the process, a second | logins a second | refreshes a second |\n\
             |---|---|---|---|---|"
        );
        for start in subjects::ALL {
            let Some(subject) = start(ALLOCATOR).await else { continue };
            if all || named(subject.name) {
                replicas(&subject).await;
            }
        }
    });
}

/// The provider, for all processes.
struct World {
    provider: DevProvider,
    /// The number of the last user. One login at a time passes the provider, which is told its user before.
    turn: Mutex<usize>,
    /// Seconds by which the clock was moved.
    ahead: Arc<AtomicU64>,
    clock: Clock,
}

impl World {
    fn new() -> Arc<Self> {
        let callback = format!("{APP}/auth/callback");
        let ahead = Arc::new(AtomicU64::new(0));
        let (system, moved) = (Clock::system(), Arc::clone(&ahead));
        let now = move || system.now().saturating_add(Duration::from_secs(moved.load(Ordering::Relaxed)));
        let clock = Clock::from_fn(now);
        let provider = DevProvider::new(PROVIDER).expect("a loopback issuer").clock(clock.clone());
        let provider = provider.client("app", Some("secret"), &[&callback], &[APP]).access_token_lifetime(LIFE);
        Arc::new(Self { provider, turn: Mutex::new(0), ahead, clock })
    }

    /// The provider's answer to the next user.
    fn authorize(&self, at: &str) -> http::Response<Bytes> {
        let mut number = self.turn.lock().expect("no panic");
        *number += 1;
        let email = format!("login{number}@example.com");
        self.provider.script(Some(ScriptedLogin::SignIn { email, admin: false }));
        let request = Request::get(at).header(HOST, "localhost:4000");
        self.provider.handle(request.body(Bytes::new()).expect("a valid request"))
    }
}

/// One process of the application.
#[derive(Clone)]
struct Replica {
    layer: OidcLayer,
    app: Oidc<Router>,
    world: Arc<World>,
}

impl Replica {
    fn new(store: Arc<dyn Store>, world: &Arc<World>) -> Self {
        let asked = world.provider.clone();
        let outbound = tower::service_fn(move |request: Request<Bytes>| {
            let response = asked.handle(request).map(ApiBody::from);
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let provider = ProviderConfig::new(PROVIDER, "app").client_secret("secret");
        let mut config = Config::new(APP, provider).resource(Resource::new("calendar", API)).clock(world.clock.clone());
        config.session_secrets = vec!["a sealing secret of the benchmark".into()];
        // What is known stays known for as long as is measured.
        config.max_staleness = Duration::from_secs(24 * 60 * 60);
        let layer = OidcLayer::per_user(config.http_client(outbound), store).expect("a valid configuration");
        let app = layer.layer(Router::new().route("/", get(page)).route("/token", get(token)).with_state(()));
        Self { layer, app, world: Arc::clone(world) }
    }

    async fn start_session(&self, number: usize) -> String {
        let claims = serde_json::json!({ "email": format!("person{number}@example.com"), "name": "Ada Lovelace" });
        let serde_json::Value::Object(claims) = claims else { unreachable!() };
        testing::start_session(&self.layer, PROVIDER, &format!("{number:021}"), claims).await.expect("a session")
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        let request = Request::get(path).header(HOST, "localhost:3000").header(COOKIE, cookie);
        let response = self.app.clone().oneshot(request.body(Body::empty()).expect("a valid request")).await;
        response.unwrap_or_else(|never| match never {})
    }

    async fn is_known(&self, cookie: &str) {
        assert_eq!(self.get("/", cookie).await.status(), StatusCode::OK, "a session");
    }

    async fn has_token(&self, cookie: &str) {
        assert_eq!(self.get("/token", cookie).await.status(), StatusCode::OK, "a token");
    }

    /// The value of a `Cookie` header.
    async fn log_in(&self) -> String {
        let started = self.get("/auth/login", "").await;
        let back = location(&self.world.authorize(&location(&started)));
        let path = back.strip_prefix(APP).expect("the way back to the application");
        let finished = self.get(path, &cookies(started.headers())).await;
        assert_eq!(finished.status(), StatusCode::SEE_OTHER, "somebody signs in");
        cookies(finished.headers())
    }
}

async fn page(user: CurrentUser) -> String {
    user.subject().to_owned()
}

async fn token(tokens: UserTokens) -> Result<String, Error> {
    Ok(tokens.access_token(API).await?.expose_secret().to_owned())
}

async fn sessions(subject: &Subject, most: usize) {
    let world = World::new();
    let replica = Replica::new(Arc::clone(&subject.store), &world);
    let empty = subject.client.bytes().await;
    let (mut cookies, mut count, mut size) = (Vec::new(), 0, 100);
    while size <= most {
        let added = size - count;
        let every = size.div_ceil(10_000);
        let began = now();
        let mut started =
            stream::iter((count..size).map(|number| replica.start_session(number))).buffer_unordered(AT_ONCE);
        let mut number = 0;
        while let Some(cookie) = started.next().await {
            // Of some, from the whole population.
            if number % every == 0 {
                cookies.push(cookie);
            }
            number += 1;
        }
        drop(started);
        let started = added as f64 / began.elapsed().as_secs_f64();
        count = size;
        let bytes = (subject.client.bytes().await.saturating_sub(empty)) as f64 / count as f64;
        let recent = cookies.len().saturating_sub(NEW);
        for cookie in &cookies[recent..] {
            replica.is_known(cookie).await;
        }
        let known = one_by_one(&replica, cookies[recent..].iter().cycle().take(KNOWN)).await;
        let other = Replica::new(Arc::clone(&subject.store), &world);
        let step = cookies.len().div_ceil(NEW);
        let new = one_by_one(&other, cookies.iter().step_by(step).take(NEW)).await;
        let (logins, refreshes) = logins(std::slice::from_ref(&replica)).await;
        let name = subject.name;
        println!(
            "| {name} | {size} | {known:.1} | {new:.1} | {started:.0} | {logins:.0} | {refreshes:.0} | {bytes:.0} |"
        );
        size *= 10;
    }
}

/// Microseconds of a request.
async fn one_by_one(replica: &Replica, cookies: impl Iterator<Item = &String>) -> f64 {
    let (began, mut count) = (now(), 0);
    for cookie in cookies {
        replica.is_known(cookie).await;
        count += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}

/// Logins and refreshes a second, by turns at each replica.
async fn logins(replicas: &[Replica]) -> (f64, f64) {
    let cookies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&cookies);
    let logins = each(replicas, LOGINS, move |replica, _| {
        let kept = Arc::clone(&kept);
        async move {
            let cookie = replica.log_in().await;
            kept.lock().expect("no panic").push(cookie);
        }
    });
    let logins = logins.await;
    replicas[0].world.ahead.fetch_add(LIFE.as_secs() + 1, Ordering::Relaxed);
    let refreshes = each(replicas, LOGINS, move |replica, number| {
        let cookie = cookies.lock().expect("no panic")[number].clone();
        async move { replica.has_token(&cookie).await }
    });
    (logins, refreshes.await)
}

async fn each<F: Future<Output = ()> + Send + 'static>(
    replicas: &[Replica], count: usize, run: impl Fn(Replica, usize) -> F,
) -> f64 {
    let (began, done) = (now(), AtomicUsize::new(0));
    let tasks = (0..count).map(|number| {
        let task = tokio::spawn(run(replicas[number % replicas.len()].clone(), number));
        async { task.await.expect("no panic") }
    });
    stream::iter(tasks)
        .buffer_unordered(AT_ONCE)
        .for_each(|()| {
            done.fetch_add(1, Ordering::Relaxed);
            std::future::ready(())
        })
        .await;
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

async fn replicas(subject: &Subject) {
    let world = World::new();
    for count in REPLICAS {
        let first = Replica::new(Arc::clone(&subject.store), &world);
        let mut cookies = Vec::new();
        for number in 0..NEW {
            cookies.push(first.start_session(number).await);
        }
        let replicas: Vec<_> = (0..count).map(|_| Replica::new(Arc::clone(&subject.store), &world)).collect();
        let cookies: Arc<[String]> = cookies.into();
        let new = each(&replicas, NEW, |replica, number| {
            let cookies = Arc::clone(&cookies);
            async move { replica.is_known(&cookies[number]).await }
        });
        let (new, (logins, refreshes)) = (new.await, logins(&replicas).await);
        println!("| {} | {count} | {new:.0} | {logins:.0} | {refreshes:.0} |", subject.name);
    }
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

#[expect(clippy::disallowed_methods, reason = "what is measured is the time")]
fn now() -> Instant {
    Instant::now()
}
