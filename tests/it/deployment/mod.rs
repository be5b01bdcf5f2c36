//! Several replicas of the demo as real processes over one store, which are killed and replaced, whose store stops, and
//! whose provider is slow, refuses or loses its answers; behind a balancer, and with `TOWER_OIDC_NGINX=1` behind nginx.
//!
//! The short form runs with the others:
//!
//! ```text
//! cargo build --examples --all-features
//! TOWER_OIDC_NGINX=1 cargo test -p tower-oidc-tests --all-features --test it deployment -- --nocapture
//! ```
//!
//! The long one, five minutes with 500 people on each store, takes an hour and a half:
//!
//! ```text
//! cargo build --release --examples --all-features
//! TOWER_OIDC_USERS=500 TOWER_OIDC_SECONDS=300 cargo test -p tower-oidc-tests --release --all-features --test it deployment -- --nocapture --test-threads 1
//! ```
//!
//! Its figures for three processes of which none is killed, with access tokens of two seconds:
//!
//! | store | responses with a token | expired tokens | refreshes for each | refresh tokens spent twice | tokens of another user | users signed out |
//! |---|---|---|---|---|---|---|
//! | SQLite | 314,812 | 93,978 | 1.00 | 0 | 0 | 0 |
//! | PostgreSQL | 333,827 | 100,019 | 1.00 | 0 | 0 | 0 |
//! | Redis | 351,128 | 101,350 | 1.00 | 0 | 0 | 0 |
//!
//! `TOWER_OIDC_SEED`, which is printed, repeats what was left to chance.

mod clocks;
mod cluster;
mod crowd;
mod dice;
mod kills;
mod outage;
mod provider;
mod stateless;

use std::time::{Duration, Instant};

use cluster::{Cluster, Spending};
use crowd::{Crowd, Tally};
use futures_util::future::join_all;

use crate::support::fault::Fault;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;

/// For what takes as long as it takes on a busy machine: a lease of the dead alone takes 24 s to be taken over.
const PATIENCE: Duration = Duration::from_secs(120);

/// A number that the long form makes larger.
fn number(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|given| given.parse().ok()).unwrap_or(short)
}

fn people(short: u64) -> u64 {
    number("TOWER_OIDC_USERS", short)
}

/// How long a crowd is at work.
fn seconds(short: u64) -> Duration {
    Duration::from_secs(number("TOWER_OIDC_SECONDS", short))
}

/// A store that processes share.
struct Shared {
    /// The demo's `TOKEN_STORE`.
    url: String,
    _folder: Option<Folder>,
}

impl Shared {
    fn kind(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }
}

fn sqlite() -> Shared {
    let folder = Folder::new();
    Shared { url: format!("sqlite:{}", folder.file().display()), _folder: Some(folder) }
}

/// One of each kind. Those that are not installed are skipped by name.
async fn stores() -> Vec<Shared> {
    let mut stores = vec![sqlite()];
    if let Some(postgres) = Postgres::shared() {
        stores.push(Shared { url: postgres.database().await, _folder: None });
    }
    stores.extend(Redis::shared().map(|redis| Shared { url: redis.database(), _folder: None }));
    stores
}

/// The same with each store: at once in the short form, where most of the time is waiting.
async fn with_each_store<F: Future<Output = ()>>(test: impl Fn(Shared) -> F) {
    let running = stores().await.into_iter().map(test);
    if std::env::var_os("TOWER_OIDC_USERS").is_none() {
        join_all(running).await;
    } else {
        for one in running {
            one.await;
        }
    }
}

/// What came of it all.
struct Outcome {
    /// How often the provider saw that a refresh token came again, which it forgave nobody.
    reuse: usize,
    /// How often it gave tokens that nobody wrote.
    lost: usize,
    refreshes: usize,
    granted_anew: u64,
}

/// Ends the cluster. Nobody got anything of anybody else, no session was lost, whoever had to grant anew had to because a
/// token was spent twice, and that happened to those alone for whom the provider's tokens were lost, once for each loss.
async fn outcome(cluster: Cluster, tally: &Tally, what: &str) -> Outcome {
    let op = cluster.op.clone();
    let spending = cluster.spending().await;
    let sum = |of: fn(&Spending) -> usize| spending.values().map(of).sum::<usize>();
    let refreshes = sum(|person| person.answered);
    let again = sum(|person| person.again);
    let expiries = op.refreshes().len() - again;
    let outcome = Outcome {
        reuse: op.reuse_detected(),
        lost: sum(Spending::lost),
        refreshes,
        granted_anew: tally.of(&tally.granted_anew),
    };
    println!(
        "{what}: {tally:?}; {refreshes} refreshes of {expiries} expiries ({:.2} each), {} tokens lost, reuse {}",
        refreshes as f64 / expiries.max(1) as f64,
        outcome.lost,
        outcome.reuse
    );
    assert_eq!([&tally.foreign, &tally.signed_out, &tally.other].map(|bad| tally.of(bad)), [0; 3], "{what}");
    assert!(tally.of(&tally.good) > 0 && tally.of(&tally.known) > 0 && refreshes > 0, "{what}");
    for (name, spent) in &spending {
        assert!(spent.again <= spent.lost(), "{what}: {name}: {spent:?}");
    }
    assert!(outcome.granted_anew <= outcome.reuse as u64, "{what}");
    outcome
}

/// Nobody noticed anything, and each refresh token went to the provider once.
async fn assert_unnoticed(cluster: Cluster, tally: &Tally, what: &str) {
    let front_log = cluster.front_log();
    let outcome = outcome(cluster, tally, what).await;
    assert_eq!((outcome.reuse, outcome.lost), (0, 0), "{what}");
    let lost = [&tally.granted_anew, &tally.unavailable, &tally.broken, &tally.late];
    assert_eq!(lost.map(|lost| tally.of(lost)), [0; 4], "{what}: {front_log}");
}

/// However many ask, and however short tokens live, each expiry is one refresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_people_and_short_lives_spend_no_refresh_token_twice() {
    with_each_store(|store| async move {
        let cluster = Cluster::start(&store.url, 3, 2).await;
        let crowd = Crowd::signed_in(&cluster, people(24)).await;
        let (crowd, tally) = crowd.work(seconds(6)).done().await;
        crowd.recovers().await;
        assert_unnoticed(cluster, &tally, store.kind()).await;
    })
    .await;
}

/// A deploy: each process in turn is told to stop, drains, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_is_not_noticed() {
    with_each_store(|store| async move {
        let cluster = Cluster::start(&store.url, 2, 2).await;
        is_replaced_unnoticed(cluster, store.kind()).await;
    })
    .await;
}

/// The same behind the real nginx, with the configuration that the documentation gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_a_rolling_deploy_is_not_noticed() {
    let store = sqlite();
    let Some(cluster) = Cluster::behind_nginx(&store.url, 2, 2).await else { return };
    is_replaced_unnoticed(cluster, "nginx").await;
}

async fn is_replaced_unnoticed(mut cluster: Cluster, what: &str) {
    let time = seconds(6);
    let working = Crowd::signed_in(&cluster, people(24)).await.work(time);
    let began = Instant::now();
    while began.elapsed() + Duration::from_secs(2) < time {
        for replica in 0..2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.replace(replica).await;
        }
    }
    let (crowd, tally) = working.done().await;
    crowd.recovers().await;
    assert_unnoticed(cluster, &tally, what).await;
}

/// Over two replicas; the provider takes 200 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_at_the_moment_of_expiry_over_two_replicas() {
    for store in stores().await {
        let what = store.kind();
        let cluster = Cluster::start(&store.url, 2, 4).await;
        let alice = cluster.signed_in("alice").await;
        let good = alice.clone().get(&cluster.at("/api")).await;
        assert_eq!(good.status, 200, "{what}: {}", good.body);
        cluster.net.fault(cluster.op.issuer(), "/token", Fault::Slow(Duration::from_millis(200)));
        tokio::time::sleep(Duration::from_millis(4100)).await;
        // What comes now lasts: fifty answers may take a while.
        cluster.op.set(|op| op.access_token_lifetime = 3600);
        let before = cluster.op.refreshes().len();
        let asked = (0..50).map(|_| {
            let (mut browser, api) = (alice.clone(), cluster.at("/api"));
            tokio::spawn(async move {
                let began = Instant::now();
                let status = browser.get(&api).await.status.as_u16();
                (status, began.elapsed())
            })
        });
        let mut times = Vec::new();
        for answer in asked.collect::<Vec<_>>() {
            let (status, time) = answer.await.expect("no panic");
            assert_eq!(status, 200, "{what}");
            times.push(time);
        }
        times.sort();
        println!("{what}: the provider takes 200 ms; waiting: median {:?}, p99 {:?}", times[25], times[49]);
        let refreshes = cluster.op.refreshes().len() - before;
        assert_eq!((refreshes, cluster.op.reuse_detected()), (1, 0), "{what}");
    }
}
