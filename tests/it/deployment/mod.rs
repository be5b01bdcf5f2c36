//! Several replicas of the demo as real processes over one store, killed, replaced and slowed down.
//!
//! The short form runs with the others. The long one, five minutes with 500 people on each store:
//!
//! ```text
//! cargo build --release --examples --all-features
//! TOWER_OIDC_USERS=500 TOWER_OIDC_SECONDS=300 cargo test --release --all-features --test it deployment -- --nocapture --test-threads 1
//! ```

mod cluster;
mod crowd;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cluster::Cluster;
use crowd::{Crowd, Tally};

use crate::support::fault::Fault;
use crate::support::postgres::Postgres;
use crate::support::process::free_port;
use crate::support::redis::Redis;

/// A number that the long form makes larger.
fn number(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|given| given.parse().ok()).unwrap_or(short)
}

/// A store that processes share.
struct Shared {
    /// The demo's `TOKEN_STORE`.
    url: String,
    folder: Option<PathBuf>,
}

impl Shared {
    fn kind(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn sqlite() -> Shared {
    let folder = std::env::temp_dir().join(format!("tower-oidc-{}-{}", std::process::id(), free_port()));
    std::fs::create_dir_all(&folder).expect("a folder");
    Shared { url: format!("sqlite:{}", folder.join("records.sqlite").display()), folder: Some(folder) }
}

/// One of each kind. Those that are not installed are skipped by name.
async fn stores() -> Vec<Shared> {
    let mut stores = vec![sqlite()];
    if let Some(postgres) = Postgres::shared() {
        stores.push(Shared { url: postgres.database().await, folder: None });
    }
    stores.extend(Redis::shared().map(|redis| Shared { url: redis.database(), folder: None }));
    stores
}

/// Each refresh token went to the provider once, and nobody else's to the API.
fn assert_clean(cluster: &Cluster, tally: &Tally, what: &str) {
    let refreshes = cluster.op.refreshes();
    let spent: HashSet<_> = refreshes.iter().filter_map(|refresh| refresh.refresh_token.as_deref()).collect();
    println!(
        "{what}: {tally:?}; {} refreshes of {} expiries ({:.2} each), reuse {}",
        refreshes.len(),
        spent.len(),
        refreshes.len() as f64 / spent.len().max(1) as f64,
        cluster.op.reuse_detected()
    );
    assert_eq!((tally.of(&tally.foreign), tally.of(&tally.other)), (0, 0), "{what}");
    assert!(tally.of(&tally.good) > 0, "{what}");
}

/// The last of the issue's promises, and the first that every other system breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_people_and_short_lives_spend_no_refresh_token_twice() {
    for store in stores().await {
        let what = store.kind();
        let cluster = Cluster::start(&store.url, 3, 2).await;
        let crowd = Crowd::signed_in(&cluster, number("TOWER_OIDC_USERS", 24)).await;
        let tally = crowd.work(Duration::from_secs(number("TOWER_OIDC_SECONDS", 6))).done().await;
        assert_clean(&cluster, &tally, what);
        let refreshes = cluster.op.refreshes();
        let spent: HashSet<_> =
            refreshes.iter().filter_map(|refresh| refresh.refresh_token.clone()).collect();
        assert!(refreshes.iter().all(|refresh| refresh.outcome.is_ok()), "{what}");
        assert_eq!((refreshes.len(), cluster.op.reuse_detected()), (spent.len(), 0), "{what}");
        let lost = [&tally.signed_out, &tally.granted_anew, &tally.unavailable, &tally.broken];
        assert_eq!(lost.map(|lost| tally.of(lost)), [0; 4], "{what}");
    }
}

/// With SIGKILL at random there is no more reuse than there were crashes, and each is mended by a new login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_at_random_and_nobody_is_signed_out() {
    for store in stores().await {
        let what = store.kind();
        let mut cluster = Cluster::start(&store.url, 3, 2).await;
        let people = number("TOWER_OIDC_USERS", 24);
        let time = Duration::from_secs(number("TOWER_OIDC_SECONDS", 8));
        let working = Crowd::signed_in(&cluster, people).await.work(time);
        let began = Instant::now();
        let mut kills = 0;
        while began.elapsed() + Duration::from_secs(2) < time {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let replica = kills % 3;
            cluster.kill(replica).await;
            cluster.run(replica).await;
            kills += 1;
        }
        let tally = working.done().await;
        assert_clean(&cluster, &tally, what);
        println!("{what}: {kills} kills");
        assert_eq!(tally.of(&tally.signed_out), 0, "{what}: a session is nothing that a crash takes away");
        let reuse = cluster.op.reuse_detected() as u64;
        // Each crash may catch refreshes between the provider's answer and its writing: those, and no others.
        assert!(tally.of(&tally.granted_anew) <= reuse, "{what}: {tally:?}");
        assert!(reuse <= kills as u64 * people, "{what}");
    }
}

/// The same behind the real nginx, with the configuration that the documentation gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_a_rolling_deploy_is_not_noticed() {
    let store = sqlite();
    let Some(mut cluster) = Cluster::behind_nginx(&store.url, 2, 2).await else { return };
    let time = Duration::from_secs(number("TOWER_OIDC_SECONDS", 6));
    let working = Crowd::signed_in(&cluster, number("TOWER_OIDC_USERS", 24)).await.work(time);
    let began = Instant::now();
    while began.elapsed() + Duration::from_secs(2) < time {
        for replica in 0..2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.replace(replica).await;
        }
    }
    let tally = working.done().await;
    assert_clean(&cluster, &tally, "nginx");
    assert_eq!(cluster.op.reuse_detected(), 0);
    let lost = [&tally.signed_out, &tally.granted_anew, &tally.unavailable, &tally.broken];
    assert_eq!(lost.map(|lost| tally.of(lost)), [0; 4], "{}", cluster.front_log());
}

/// A deploy: each process in turn is told to stop, drains, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_is_not_noticed() {
    for store in stores().await {
        let what = store.kind();
        let mut cluster = Cluster::start(&store.url, 2, 2).await;
        let time = Duration::from_secs(number("TOWER_OIDC_SECONDS", 6));
        let working = Crowd::signed_in(&cluster, number("TOWER_OIDC_USERS", 24)).await.work(time);
        let began = Instant::now();
        while began.elapsed() + Duration::from_secs(2) < time {
            for replica in 0..2 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                cluster.replace(replica).await;
            }
        }
        let tally = working.done().await;
        assert_clean(&cluster, &tally, what);
        assert_eq!(cluster.op.reuse_detected(), 0, "{what}");
        let lost = [&tally.signed_out, &tally.granted_anew, &tally.unavailable, &tally.broken];
        assert_eq!(lost.map(|lost| tally.of(lost)), [0; 4], "{what}");
    }
}

/// Scenario 52 over two replicas; the provider takes 200 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_52_fifty_requests_at_the_moment_of_expiry_over_two_replicas() {
    for store in stores().await {
        let what = store.kind();
        let cluster = Cluster::start(&store.url, 2, 4).await;
        let alice = cluster.signed_in("alice").await;
        let good = alice.clone().get(&cluster.at("/api")).await;
        assert_eq!((good.status.as_u16(), cluster.op.refreshes().len()), (200, 0), "{what}: {}", good.body);
        cluster.net.fault(cluster.op.issuer(), "/token", Fault::Slow(Duration::from_millis(200)));
        tokio::time::sleep(Duration::from_millis(4100)).await;
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
        assert_eq!((cluster.op.refreshes().len(), cluster.op.reuse_detected()), (1, 0), "{what}");
    }
}
