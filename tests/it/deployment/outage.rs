//! The store stops and starts, as an operator does it and as a crash does.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use super::cluster::Cluster;
use super::crowd::{Crowd, Working};
use super::dice::Dice;
use super::{outcome, people, seconds};
use crate::support::fault::Fault;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Proxy, Wire};
use crate::support::redis::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stops_and_starts_under_three_replicas() {
    // On a disk that is busy it may hold a write back for as long as the last one is being synchronised.
    let folder = Folder::new();
    let Some(redis) = Redis::with(&["--dir", folder.path().to_str().expect("text")]) else { return };
    let cluster = Cluster::start(&redis.url(0), 3, 2).await;
    let stops: [&dyn Fn(); 2] = [&|| redis.stop(), &|| redis.crash()];
    let away = stops_and_starts(cluster, "redis", stops, &|| redis.resume()).await;
    assert!(away > 0, "it was away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_and_starts_under_three_replicas() {
    let Some(postgres) = Postgres::start() else { return };
    let cluster = Cluster::start(&postgres.database().await, 3, 2).await;
    let stops: [&dyn Fn(); 2] = [&|| postgres.stop(), &|| postgres.crash()];
    let away = stops_and_starts(cluster, "postgres", stops, &|| postgres.resume()).await;
    assert!(away > 0, "it was away");
}

/// Connections that stand pass nothing any more, as behind a firewall that has forgotten them; then none does, for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_redis_freeze_under_three_replicas() {
    let Some(redis) = Redis::start() else { return };
    let proxy = Proxy::before(redis.port()).await;
    let cluster = Cluster::start(&proxy.url(&redis.url(0), redis.port()), 3, 2).await;
    freezes(cluster, "redis, frozen", &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_postgres_freeze_under_three_replicas() {
    let Some(postgres) = Postgres::start() else { return };
    let proxy = Proxy::before(postgres.port()).await;
    let cluster = Cluster::start(&proxy.url(&postgres.database().await, postgres.port()), 3, 2).await;
    freezes(cluster, "postgres, frozen", &proxy).await;
}

async fn freezes(cluster: Cluster, what: &str, proxy: &Proxy) {
    let stops: [&dyn Fn(); 2] = [&|| proxy.set(Wire::Frozen), &|| proxy.freeze_standing()];
    let made = proxy.made();
    // A statement waits for a while: people need not notice.
    stops_and_starts(cluster, what, stops, &|| proxy.heal()).await;
    assert!(proxy.made() >= made + 3, "each process has left its connection");
}

/// While it is away people are answered from what is known for a moment, or 503; never that they are nobody, or that
/// they must grant again. Nothing is lost, refreshes included that were under way. Returns how often it was 503.
async fn stops_and_starts(cluster: Cluster, what: &str, stops: [&dyn Fn(); 2], resume: &dyn Fn()) -> u64 {
    let mut dice = Dice::new(what);
    let time = seconds(12);
    let crowd = Crowd::signed_in(&cluster, people(24)).await;
    cluster.net.fault(cluster.op.issuer(), "/token", Fault::SlowAnswer(Duration::from_millis(250)));
    let working = crowd.work(time);
    let began = Instant::now();
    let mut outages = 0;
    while began.elapsed() + Duration::from_secs(4) < time {
        tokio::time::sleep(dice.millis(800, 2000)).await;
        block_in_place(stops[outages % 2]);
        tokio::time::sleep(dice.millis(300, 3000)).await;
        block_in_place(resume);
        outages += 1;
    }
    println!("{what}: {outages} outages");
    nothing_is_lost(cluster, working, what).await
}

/// Nobody noticed more than that the store was away. Returns how often.
async fn nothing_is_lost(cluster: Cluster, working: Working, what: &str) -> u64 {
    let (crowd, tally) = working.done().await;
    // Everybody's token is refreshed once more: whatever was lost would come out.
    let (crowd, afterwards) = crowd.recovers().await.work(Duration::from_secs(5)).done().await;
    crowd.recovers().await;
    println!("{what}: afterwards {afterwards:?}");
    let outcome = outcome(cluster, &tally, what).await;
    for tally in [&tally, &afterwards] {
        let bad = [&tally.foreign, &tally.signed_out, &tally.granted_anew, &tally.broken, &tally.late, &tally.other];
        assert_eq!(bad.map(|bad| tally.of(bad)), [0; 6], "{what}");
    }
    // What the store wrote without being able to say so is found, and is not counted as written.
    assert_eq!(outcome.reuse, 0, "{what}");
    tally.of(&tally.unavailable)
}

/// The primary dies, and its replica takes over under the same name. Nothing that was written is lost, because each commit
/// waits for the replica: then nobody gets anything of anybody else, nobody signs in or grants anew, and each refresh token is
/// spent once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_replica_takes_over() {
    let Some(primary) = Postgres::start() else { return };
    let url = primary.database().await;
    let replica = primary.replica().await;
    let proxy = Proxy::before(primary.port()).await;
    let cluster = Cluster::start(&proxy.url(&url, primary.port()), 3, 2).await;
    let crowd = Crowd::signed_in(&cluster, people(24)).await;
    cluster.net.fault(cluster.op.issuer(), "/token", Fault::SlowAnswer(Duration::from_millis(250)));
    let mut witness = cluster.signed_in("witness").await;
    let working = crowd.work(seconds(10));
    tokio::time::sleep(Duration::from_secs(3)).await;
    block_in_place(|| primary.crash());
    tokio::time::sleep(Duration::from_millis(500)).await;
    block_in_place(|| replica.promote());
    proxy.lead_to(replica.port());
    let promoted = Instant::now();
    while witness.get(&cluster.at("/api")).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(promoted.elapsed() < super::PATIENCE, "it recovers");
    }
    println!("failover: recovered {:?} after the replica was the primary", promoted.elapsed());
    assert!(nothing_is_lost(cluster, working, "failover").await > 0, "it was away");
}
