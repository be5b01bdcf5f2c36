//! SIGKILL at any moment, to any process.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::crowd::Crowd;
use super::dice::Dice;
use super::{Shared, outcome, people, seconds, sqlite, with_each_store};
use crate::support::fault::Fault;

/// There is no more reuse than there were crashes between the provider's answer and its writing, each is mended by one
/// clean login, and a session is nothing that a crash takes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_at_random_and_nobody_is_signed_out() {
    with_each_store(|store: Shared| async move {
        let cluster = Cluster::start(&store.url, 3, 2).await;
        are_killed(cluster, store.kind()).await;
    })
    .await;
}

/// The same behind the real nginx, which asks another process where one does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_processes_are_killed_at_random_and_nobody_is_signed_out() {
    let store = sqlite();
    let Some(cluster) = Cluster::behind_nginx(&store.url, 3, 2).await else { return };
    are_killed(cluster, "nginx").await;
}

async fn are_killed(mut cluster: Cluster, what: &str) {
    let mut dice = Dice::new(what);
    let time = seconds(8);
    let crowd = Crowd::signed_in(&cluster, people(24)).await;
    // The spend window is wide enough that crashes fall into it.
    cluster.net.fault(cluster.op.issuer(), "/token", Fault::SlowAnswer(Duration::from_millis(250)));
    let working = crowd.work(time);
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() + Duration::from_secs(2) < time {
        tokio::time::sleep(dice.millis(200, 1500)).await;
        let replica = dice.roll(3);
        cluster.kill(replica).await;
        cluster.run(replica).await;
        kills += 1;
    }
    let (crowd, tally) = working.done().await;
    crowd.recovers().await;
    let outcome = outcome(cluster, &tally, what).await;
    println!("{what}: {kills} kills, {} caught in their spend window, {} logins", outcome.lost, outcome.granted_anew);
    // That each is of somebody who was caught is checked for each person. The control is that without kills nobody is.
    assert!(outcome.reuse <= outcome.lost, "{what}");
}
