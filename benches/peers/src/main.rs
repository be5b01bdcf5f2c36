//! tower-oidc beside other crates that keep people signed in: the same request, login and refresh in one run.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml              everything (minutes; instructions need valgrind)
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick   without instructions
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- logins    a part: requests, sockets, logins, refreshes
//! bash benches/peers/build.sh                                               the build from nothing
//! ```
//!
//! Each peer signs people in at the development provider, which it asks through a socket of this machine; tower-sessions
//! has no provider, and writes two claims into the session. axum-login stands here with openidconnect, as `by_hand` puts
//! them together. All keep sessions in memory. Then one GET with five headers besides its cookie goes through
//! `Service::call`, in process, and the page asks who it is. Ratios are medians over rounds in which each has its turn.
//!
//! Where something is measured through sockets, one thread serves, one asks through 4 connections. Logins follow one
//! another; they and refreshes share one thread with the provider, whose part is the same for each.
//!
//! # Figures
//!
//! axum 0.8, axum-login 0.18 with openidconnect 4, axum-oidc 0.6, axum-oidc-client 0.7, tower-sessions 0.14. On a machine that
//! others used at the same time: times and rates are for comparison within one table, instructions and allocations hold by
//! themselves. axum alone takes 6,979 instructions and 12 allocations.
//!
//! | signed-in request | × axum alone | instructions more | allocations more | requests a second over sockets |
//! |---|---|---|---|---|
//! | axum alone | 1.00 | 0 | 0 | 20,369 |
//! | tower-sessions | 3.96 | 20,234 | 26 | 15,282 |
//! | axum-login | 6.90 | 31,278 | 37 | 13,323 |
//! | axum-oidc, which verifies the ID token each time | 668 | 3,426,096 | 283 | 1,141 |
//! | axum-oidc-client | 18.6 | 79,979 | 92 | 9,186 |
//! | **tower-oidc**, around the router | 2.80 | 9,024 | 8 | 15,656 |
//! | tower-oidc, `Router::layer` | 2.88 | 9,908 | 10 | 15,103 |
//!
//! Of tower-oidc's, 4,844 instructions and about 5 allocations look at the `Host` of a request: with a public URL on loopback,
//! as here, only requests of this machine are answered. With https they are not spent.
//!
//! | | logins a second | refreshes a second |
//! |---|---|---|
//! | axum-login with openidconnect | 504 (429 to 1,017) | 1,124 (1,030 to 1,322) |
//! | axum-oidc | 535 (353 to 660) | – (it looks at the ID token's end alone) |
//! | axum-oidc-client, which verifies no ID token | 1,197 (459 to 3,430) | 877 (790 to 1,429) |
//! | **tower-oidc**, around the router | 518 (447 to 793) | 504 (323 to 597) |
//! | tower-oidc, `Router::layer` | 725 (335 to 1,317) | – |
//!
//! A refresh of tower-oidc leases the grant in the store first, so that all other requests and processes wait for it, verifies
//! what comes, and writes it sealed. The others keep the new tokens in memory as they come.
//!
//! The same small application: with tower-oidc 22 lines, 239 crates, 175 CPU seconds for a development build from nothing;
//! put together by hand 220 lines, 216 crates, 141 CPU seconds.

#![allow(clippy::disallowed_methods, reason = "what is measured is the time")]

mod apps;
mod world;

use std::alloc::System;
use std::collections::HashSet;
use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use apps::{NAMES, Peer, peer, text};
use world::{HEADERS, Provider, request, sign_in};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PEOPLE: usize = 100;
const WARM_UP: usize = 200;
const BATCH: usize = 500;
const ROUNDS: usize = 60;
/// Of those with sockets, logins and refreshes.
const LONG_ROUNDS: usize = 5;
const CONNECTIONS: usize = 4;
const AT_ONCE: usize = 8;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(at) = arguments.iter().position(|argument| argument == "--only") {
        let number: usize = arguments[at + 1].parse().expect("--only takes the number of a peer");
        once(&runtime, NAMES[number]);
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let mut subjects = runtime.block_on(subjects(Duration::from_secs(3600)));
    let parts = ["requests", "sockets", "logins", "refreshes"];
    let all = !arguments.iter().any(|argument| parts.contains(&argument.as_str()));
    let wants = |part: &str| all || arguments.iter().any(|argument| argument == part);
    if wants("requests") {
        requests(&runtime, &mut subjects, quick);
    }
    if wants("sockets") {
        sockets(&runtime, &subjects);
    }
    if wants("logins") {
        logins(&runtime, &subjects);
    }
    if wants("refreshes") {
        refreshes(&runtime);
    }
}

struct Subject {
    peer: Peer,
    provider: Provider,
    cookies: Vec<String>,
}

async fn subject(name: &'static str, provider: &Provider, people: usize) -> Subject {
    let peer = peer(name, provider).await;
    let mut cookies = Vec::new();
    for number in 0..people {
        cookies.push(match peer.login {
            "" => "theme=dark".to_owned(),
            _ => sign_in(&peer, provider, number).await,
        });
    }
    let page = peer.call("/page", &cookies[0]).await;
    assert_eq!(page.status(), 200, "{name} knows who signed in");
    if !peer.login.is_empty() {
        let page = peer.call("/page", "").await;
        assert!(!page.status().is_success(), "{name} knows somebody without a cookie");
    }
    Subject { peer, provider: provider.clone(), cookies }
}

async fn subjects(lifetime: Duration) -> Vec<Subject> {
    let provider = Provider::start(lifetime).await;
    let mut subjects = Vec::new();
    for name in NAMES {
        subjects.push(subject(name, &provider, PEOPLE).await);
    }
    subjects
}

impl Subject {
    fn requests(&self, count: usize) -> Vec<axum::extract::Request> {
        self.cookies.iter().cycle().take(count).map(|cookie| request("/page", cookie)).collect()
    }
}

/// What callgrind counts: this function, and what it calls.
#[inline(never)]
fn measured(peer: &mut Peer, requests: Vec<axum::extract::Request>) {
    peer.serve(requests);
}

/// One subject, to be run under callgrind.
fn once(runtime: &Runtime, name: &'static str) {
    let mut subject = runtime.block_on(async {
        let provider = Provider::start(Duration::from_secs(24 * 3600)).await;
        subject(name, &provider, 10).await
    });
    let _entered = runtime.enter();
    for number in 0..WARM_UP + BATCH {
        let request = subject.requests(10).swap_remove(number % 10);
        match number < WARM_UP {
            true => subject.peer.serve(vec![request]),
            false => measured(&mut subject.peer, vec![request]),
        }
    }
}

fn instructions(number: usize) -> Option<f64> {
    let out = env::temp_dir().join(format!("tower-oidc-peers-{}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=*measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().ok()?)
        .args(["--only", &number.to_string()])
        .status();
    let profile = std::fs::read_to_string(&out);
    let _ = std::fs::remove_file(&out);
    if !status.ok()?.success() {
        return None;
    }
    let total = profile.ok()?.lines().find_map(|line| line.strip_prefix("totals: ")?.parse::<f64>().ok());
    Some(total? / BATCH as f64)
}

fn requests(runtime: &Runtime, subjects: &mut [Subject], quick: bool) {
    let _entered = runtime.enter();
    let mut times = vec![Vec::new(); subjects.len()];
    let mut allocations = Vec::new();
    for subject in subjects.iter_mut() {
        let requests = subject.requests(WARM_UP);
        subject.peer.serve(requests);
        let requests = subject.requests(BATCH);
        let region = Region::new(ALLOCATOR);
        measured(&mut subject.peer, requests);
        let change = region.change();
        allocations.push((change.allocations + change.reallocations) as f64 / BATCH as f64);
    }
    for _ in 0..ROUNDS {
        for (subject, times) in subjects.iter_mut().zip(&mut times) {
            let requests = subject.requests(BATCH);
            let start = Instant::now();
            measured(&mut subject.peer, requests);
            times.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
        }
    }
    let instructions: Vec<_> =
        (0..subjects.len()).map(|number| if quick { None } else { instructions(number) }).collect();
    println!("\n| signed-in request | ns | × axum alone | instructions | more | allocations | more |");
    println!("|---|---|---|---|---|---|---|");
    for (number, subject) in subjects.iter().enumerate() {
        let ratios = times[number].iter().zip(&times[0]).map(|(own, bare)| own / bare).collect();
        let count = |value: Option<f64>| value.map_or("?".into(), |count| format!("{count:.0}"));
        let more = instructions[number].zip(instructions[0]).map(|(own, bare)| own - bare);
        println!(
            "| {} | {:.0} | {:.2} | {} | {} | {:.0} | {:.0} |",
            subject.peer.name,
            median(times[number].clone()),
            median(ratios),
            count(instructions[number]),
            count(more),
            allocations[number],
            allocations[number] - allocations[0],
        );
    }
}

/// Requests a second over sockets.
fn sockets(runtime: &Runtime, subjects: &[Subject]) {
    let mut addresses = Vec::new();
    for subject in subjects {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("tokio wants it");
        addresses.push(listener.local_addr().expect("an address"));
        subject.peer.listen(listener);
    }
    let mut rates = vec![Vec::new(); subjects.len()];
    for _ in 0..LONG_ROUNDS {
        for ((subject, address), rates) in subjects.iter().zip(&addresses).zip(&mut rates) {
            const EACH: usize = 2_000;
            let start = Instant::now();
            runtime.block_on(futures_util::future::join_all((0..CONNECTIONS).map(|connection| {
                let cookies = subject.cookies.iter().cycle().skip(connection).take(EACH);
                ask(*address, cookies)
            })));
            rates.push((CONNECTIONS * EACH) as f64 / start.elapsed().as_secs_f64());
        }
    }
    table("requests a second over sockets", subjects.iter().map(|subject| subject.peer.name).zip(rates));
}

async fn ask(address: std::net::SocketAddr, cookies: impl Iterator<Item = &String>) {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.set_nodelay(true).expect("a socket");
    let headers: String = HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut buffer = vec![0; 4096];
    for cookie in cookies {
        let request = format!("GET /page HTTP/1.1\r\n{headers}cookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it is read");
        let mut read = 0;
        while !buffer[..read].ends_with(b"Hello!") {
            let count = stream.read(&mut buffer[read..]).await.expect("an answer");
            assert!(count > 0, "{}", String::from_utf8_lossy(&buffer[..read]));
            read += count;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"));
    }
}

fn logins(runtime: &Runtime, subjects: &[Subject]) {
    const LOGINS: usize = 100;
    let subjects: Vec<_> = subjects.iter().filter(|subject| subject.peer.by_provider).collect();
    let mut rates = vec![Vec::new(); subjects.len()];
    for round in 0..LONG_ROUNDS {
        for (subject, rates) in subjects.iter().zip(&mut rates) {
            let start = Instant::now();
            runtime.block_on(async {
                for number in 0..LOGINS {
                    sign_in(&subject.peer, &subject.provider, round * LOGINS + number).await;
                }
            });
            rates.push(LOGINS as f64 / start.elapsed().as_secs_f64());
        }
    }
    table("logins a second", subjects.iter().map(|subject| subject.peer.name).zip(rates));
}

/// Access tokens live for a second. Everybody signs in, all tokens expire, everybody asks for one.
fn refreshes(runtime: &Runtime) {
    let lifetime = Duration::from_secs(1);
    let mut found = Vec::new();
    for name in NAMES {
        let mut rates = Vec::new();
        for _ in 0..LONG_ROUNDS {
            let rate = runtime.block_on(async {
                let provider = Provider::start(lifetime).await;
                let peer = peer(name, &provider).await;
                if !peer.refreshes {
                    return None;
                }
                let mut cookies = Vec::new();
                for number in 0..PEOPLE {
                    cookies.push(sign_in(&peer, &provider, number).await);
                }
                tokio::time::sleep(2 * lifetime).await;
                let (before, start) = (provider.refreshes(), Instant::now());
                let asked = cookies.iter().map(|cookie| async { text(peer.call("/token", cookie).await).await });
                let tokens: HashSet<String> =
                    futures_util::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
                let rate = PEOPLE as f64 / start.elapsed().as_secs_f64();
                assert_eq!(provider.refreshes() - before, PEOPLE, "{name} refreshes each token once");
                assert_eq!(tokens.len(), PEOPLE, "{name} gives everybody a token of their own: {tokens:?}");
                Some(rate)
            });
            rates.extend(rate);
        }
        if !rates.is_empty() {
            found.push((*name, rates));
        }
    }
    table("refreshes a second", found.into_iter());
}

fn table(title: &str, rows: impl Iterator<Item = (&'static str, Vec<f64>)>) {
    println!("\n| {title} | median | worst | best |\n|---|---|---|---|");
    for (name, rates) in rows {
        let of = |pick: fn(f64, f64) -> f64, start: f64| rates.iter().copied().fold(start, pick);
        let (worst, best) = (of(f64::min, f64::INFINITY), of(f64::max, 0.0));
        println!("| {name} | {:.0} | {worst:.0} | {best:.0} |", median(rates.clone()));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
