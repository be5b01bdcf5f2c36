//! The provider is slow, away, refuses for a while, or its answers are lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::cluster::Cluster;
use super::crowd::{Crowd, Tally};
use super::{Shared, assert_unnoticed, outcome, people, with_each_store};
use crate::support::fault::Fault;

/// For each of the phases.
const SECONDS: u64 = 6;

/// Slower than leases are renewed, so that they are, again and again, while people at other processes wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_slower_than_the_renewal_of_a_lease_has_everybody_wait_and_nobody_lose() {
    with_each_store(|store: Shared| async move {
        let cluster = Cluster::start(&store.url, 3, 2).await;
        let crowd = Crowd::signed_in(&cluster, people(24)).await;
        cluster.net.fault(cluster.op.issuer(), "/token", Fault::Slow(Duration::from_secs(5)));
        let (crowd, tally) = crowd.work(Duration::from_secs(10)).done().await;
        cluster.net.heal(cluster.op.issuer());
        crowd.recovers().await;
        assert_unnoticed(cluster, &tally, &format!("{}, slow", store.kind())).await;
    })
    .await;
}

/// People have their old token while it lasts, and 503 after that; and afterwards they have new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_for_a_while_costs_nobody_anything() {
    with_each_store(|store: Shared| async move {
        // Tokens that last for the larger part of a phase, and not for all of it.
        let cluster = Cluster::start(&store.url, 2, 4).await;
        let mut crowd = Crowd::signed_in(&cluster, people(24)).await;
        let mut last = None;
        let phases = [
            ("answers 500", Some(Fault::Status(500))),
            ("answers 429", Some(Fault::Status(429))),
            ("hangs up", Some(Fault::Refuse)),
            ("is not there", None),
        ];
        for (phase, fault) in phases {
            let what = format!("{}, provider {phase}", store.kind());
            match fault {
                Some(fault) => cluster.net.fault(cluster.op.issuer(), "/token", fault),
                None => cluster.op_door.close().await,
            }
            let (tired, tally) = crowd.work(Duration::from_secs(SECONDS)).done().await;
            cluster.net.heal(cluster.op.issuer());
            if phase == "is not there" {
                cluster.op_door.reopen().await;
            }
            println!("{what}: {tally:?}");
            assert!(tally.of(&tally.good) > 0, "{what}: the old token is good for a while");
            assert!(tally.of(&tally.unavailable) > 0, "{what}: and then it is over");
            crowd = tired.recovers().await;
            let lost =
                [&tally.foreign, &tally.signed_out, &tally.granted_anew, &tally.broken, &tally.late, &tally.other];
            assert_eq!(lost.map(|lost| tally.of(lost)), [0; 6], "{what}");
            last = Some(tally);
        }
        let tally = last.expect("phases");
        let outcome = outcome(cluster, &tally, &format!("{}, provider refused", store.kind())).await;
        assert_eq!((outcome.reuse, outcome.lost, outcome.granted_anew), (0, 0, 0));
    })
    .await;
}

/// The provider has rotated and nobody hears of it: whoever asks again brings a token that was spent. A provider that
/// takes it for a theft ends the grant, and the person signs in anew; that is the price, once for each answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_one_login_at_the_most() {
    with_each_store(|store: Shared| async move {
        let what = format!("{}, answers lost", store.kind());
        let (cluster, tally) = lose_answers(&store, 0).await;
        let outcome = outcome(cluster, &tally, &what).await;
        assert!(outcome.lost > 0 && outcome.reuse <= outcome.lost, "{what}");
        assert_eq!(outcome.granted_anew, outcome.reuse as u64, "{what}: each is one clean login");
    })
    .await;
}

/// A provider that forgives the same request a moment later costs nobody anything: it is made at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_nothing_where_the_provider_has_a_grace() {
    with_each_store(|store: Shared| async move {
        let what = format!("{}, answers lost, the provider has a grace", store.kind());
        let (cluster, tally) = lose_answers(&store, 60).await;
        let outcome = outcome(cluster, &tally, &what).await;
        assert!(outcome.lost > 0 && outcome.refreshes > outcome.lost, "{what}");
        assert_eq!((outcome.reuse, outcome.granted_anew), (0, 0), "{what}");
    })
    .await;
}

async fn lose_answers(store: &Shared, grace: u64) -> (Cluster, Arc<Tally>) {
    let cluster = Cluster::start(&store.url, 2, 2).await;
    cluster.op.set(|op| op.reuse_grace = grace);
    let time = Duration::from_secs(8);
    let working = Crowd::signed_in(&cluster, people(24)).await.work(time);
    let began = Instant::now();
    let again = || {
        let refreshes = cluster.op.refreshes();
        let tokens: HashSet<_> = refreshes.iter().map(|refresh| &refresh.refresh_token).collect();
        refreshes.len() - tokens.len()
    };
    while began.elapsed() + Duration::from_secs(3) < time {
        let before = again();
        cluster.net.fault(cluster.op.issuer(), "/token", Fault::DropAnswer.once());
        // One loss after the other: not that of the second attempt, too. (It may have been the answer to a login.)
        let came_again = async {
            while again() == before {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(Duration::from_secs(30), came_again).await;
        sleep(Duration::from_millis(500)).await;
    }
    let (crowd, tally) = working.done().await;
    cluster.net.heal(cluster.op.issuer());
    crowd.recovers().await;
    (cluster, tally)
}
