//! Replicas over one store, by the clock: what `tower_oidc::docs::refresh_protocol` promises, at the layer itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tower_oidc::EventCode;
use tower_oidc::store::{PostgresStore, RedisStore, SqliteStore, Store};

use super::store::{FaultyStore, Mode};
use super::{APP, HOUR, OP, REPLICA, World, expired, expired_in, routes, settle};
use crate::support::app::App;
use crate::support::browser::Browser;
use crate::support::clock::TestClock;
use crate::support::fault::{Fault, Gate};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::provider::Endpoint;
use crate::support::redis::Redis;

const THIRD: &str = "https://third.test";

impl World {
    /// From now on this clock goes with tokio's.
    pub(crate) fn ticking(&self, clock: &TestClock) {
        let clock = clock.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                clock.advance(Duration::from_millis(100));
            }
        });
    }

    /// A replica with a store and a clock of its own, over the same rows.
    fn replica_at(&self, origin: &str, store: &FaultyStore, clock: &TestClock) -> App {
        let app = App::over(&self.net, clock, store.clone(), self.app.store.clone(), |config| config);
        self.net.serve_service(origin, app.layer.layer(routes()));
        app
    }
}

async fn two_replicas() -> (World, Browser, FaultyStore, FaultyStore) {
    let mut world = World::new();
    let here = FaultyStore::over(world.app.store.clone());
    let there = FaultyStore::over(world.app.store.clone());
    world.serve_over(here.clone(), |config| config);
    let (world, alice) = expired_in(world).await;
    world.replica_at(REPLICA, &there, &world.clock);
    (world, alice, here, there)
}

#[tokio::test]
async fn fifty_requests_at_the_moment_of_expiry_over_three_replicas_are_one_refresh() {
    let (world, alice, ..) = two_replicas().await;
    world.replica_at(THIRD, &FaultyStore::over(world.app.store.clone()), &world.clock);
    for round in 1..=5 {
        let asked: Vec<_> = (0..50).map(|n| world.asking([APP, REPLICA, THIRD][n % 3], &alice)).collect();
        let mut tokens = HashSet::new();
        for answer in asked {
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200, "{answer:?}");
            tokens.insert(answer.into_body());
        }
        assert_eq!((tokens.len(), world.op.refreshes().len(), world.op.reuse_detected()), (1, round, 0));
        world.clock.advance(HOUR);
    }
}

/// The same over each database, by handles that share nothing but the server.
async fn fifty_requests_over(connect: impl Fn() -> Arc<dyn Store>) {
    let mut world = World::new();
    world.serve_over(connect(), |config| config);
    let (world, alice) = expired_in(world).await;
    let replica = App::over(&world.net, &world.clock, connect(), world.app.store.clone(), |config| config);
    world.net.serve_service(REPLICA, replica.layer.layer(routes()));
    for round in 1..=5 {
        let asked: Vec<_> = (0..50).map(|n| world.asking([APP, REPLICA][n % 2], &alice)).collect();
        let mut tokens = HashSet::new();
        for answer in asked {
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200, "{answer:?}");
            tokens.insert(answer.into_body());
        }
        assert_eq!((tokens.len(), world.op.refreshes().len(), world.op.reuse_detected()), (1, round, 0));
        world.clock.advance(HOUR);
    }
}

#[tokio::test]
async fn fifty_requests_over_two_replicas_are_one_refresh_on_sqlite() {
    let folder = Folder::new();
    fifty_requests_over(|| Arc::new(SqliteStore::open(folder.file()).unwrap())).await;
}

#[tokio::test]
async fn fifty_requests_over_two_replicas_are_one_refresh_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    fifty_requests_over(|| Arc::new(PostgresStore::connect_lazy(&url).unwrap())).await;
}

#[tokio::test]
async fn fifty_requests_over_two_replicas_are_one_refresh_on_redis() {
    let Some(server) = Redis::shared() else { return };
    let url = server.database();
    fifty_requests_over(|| Arc::new(RedisStore::connect_lazy(&url).unwrap())).await;
}

/// Requests elsewhere wait for a lease, and for a grace after it, and are served.
#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_with_the_lease_costs_time_and_no_answer() {
    let (world, alice) = expired().await;
    world.ticking(&world.clock);
    world.dies_at(&world.gate(), &alice);
    let died = tokio::time::Instant::now();
    for (status, said) in world.crowd(&alice, 20).await {
        assert_eq!(status, 200, "{said}");
    }
    let waited = died.elapsed().as_secs();
    assert!((23..=25).contains(&waited), "{waited} s");
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

/// A lost request, a slow answer, and keys that cannot be read: longer than a lease and a grace.
#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_the_provider_is_slow() {
    let (world, alice, ..) = two_replicas().await;
    // Both have the provider's keys; then there are new ones, which cannot be read.
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 200);
    world.clock.advance(HOUR);
    world.ticking(&world.clock);
    world.op.rotate_keys();
    world.net.fault(OP, "/jwks", Fault::Status(503));
    world.net.fault(OP, "/token", Fault::Slow(Duration::from_secs(9)).times(2));
    world.net.fault(OP, "/token", Fault::Hang.once());
    let here = world.asking(APP, &alice);
    settle().await;
    let there = world.asking(REPLICA, &alice);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.op.refreshes().len(), 2);
    world.net.heal(OP);
    // Their requests have given up; the flight has not.
    assert_eq!(
        (here.await.unwrap().unwrap().status(), there.await.unwrap().unwrap().status()),
        (503.try_into().unwrap(), 503.try_into().unwrap())
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    for origin in [REPLICA, APP] {
        assert_eq!(world.tok_at(origin, &alice).await.0, 200);
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
}

/// The provider has rotated, and then the store is away for everybody, far longer than a lease.
#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_spends_nothing_twice() {
    let (world, alice, here, there) = two_replicas().await;
    world.ticking(&world.clock);
    let gate = world.gate_answers();
    let waiting = world.asking(APP, &alice);
    gate.wait_for_arrivals(1).await;
    let each = |mode: Mode| {
        for store in [&here, &there] {
            store.loads(mode.clone());
            store.swaps(mode.clone());
        }
    };
    each(Mode::Fails);
    gate.open();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 503);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    each(Mode::Works);
    // Whoever does not hold the tokens comes first.
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 200);
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    assert_eq!(world.app.events.count(EventCode::RefreshPersistFailed), 1);
}

/// A replica whose clock is ahead by more than a lease sees every lease run out at once, and steals none.
#[tokio::test(start_paused = true)]
async fn clocks_that_differ_steal_no_lease_that_is_renewed() {
    for (ahead, behind) in [(20, 0), (4, 0), (0, 4), (0, 20)] {
        let (world, alice) = expired().await;
        world.op.set(|op| op.id_token_on_refresh = false);
        let clock = TestClock::new();
        clock.advance(HOUR + Duration::from_secs(ahead));
        clock.rewind(Duration::from_secs(behind));
        world.replica_at(REPLICA, &FaultyStore::over(world.app.store.clone()), &clock);
        world.ticking(&world.clock);
        world.ticking(&clock);
        let gate = Gate::new();
        // Its first call is never answered, and the second late: nineteen seconds.
        world.net.fault(OP, "/token", Fault::Gate(gate.clone()));
        let here = world.asking(APP, &alice);
        gate.wait_for_arrivals(1).await;
        let there = world.asking(REPLICA, &alice);
        tokio::time::sleep(Duration::from_secs(19)).await;
        assert_eq!(gate.arrived(), 2, "ahead {ahead}, behind {behind}");
        gate.open();
        for answer in [here, there] {
            assert_eq!(answer.await.unwrap().unwrap().status(), 200, "ahead {ahead}, behind {behind}");
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    }
}

/// The lease is there, and was not told: it is found, and nobody waits for its end.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_written_and_reported_as_failed_is_used() {
    let (world, alice, here, _) = two_replicas().await;
    world.ticking(&world.clock);
    here.swaps(Mode::Lies);
    let asked = tokio::time::Instant::now();
    world.token_of(&alice, "alice").await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

/// The provider answers while a renewal is under way: the lease is found as it was written, and given back.
#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_although_its_renewal_was_cut_short() {
    let (world, alice, here, _) = two_replicas().await;
    world.ticking(&world.clock);
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::Gate(gate.clone()).once());
    let refused = world.asking(APP, &alice);
    gate.wait_for_arrivals(1).await;
    here.swaps(Mode::HangsAfter);
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.op.answer_error(Endpoint::Refresh, 400, "invalid_client");
    gate.open();
    assert_eq!(refused.await.unwrap().unwrap().status(), 503);
    world.op.honest();
    let asked = tokio::time::Instant::now();
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

/// The code does what the model does: at every call that a replica makes to the store, the call fails, is done and
/// reported as failed, or is never answered; and nothing is spent twice.
#[tokio::test(start_paused = true)]
async fn every_single_failure_of_the_store_is_survived() {
    for (name, mode) in [
        ("fails", Mode::Fails),
        ("lies", Mode::Lies),
        ("hangs", Mode::Hangs),
        ("hangs after it wrote", Mode::HangsAfter),
    ] {
        for after in 0.. {
            let (world, alice, here, _) = two_replicas().await;
            world.ticking(&world.clock);
            // Slow enough for a renewal, and for the other to wait.
            world.net.fault(OP, "/token", Fault::SlowAnswer(Duration::from_secs(6)));
            here.once(after, mode.clone());
            let asked = [world.asking(APP, &alice), world.asking(REPLICA, &alice)];
            for answer in asked {
                let status = answer.await.unwrap().unwrap().status().as_u16();
                assert!([200, 503].contains(&status), "{name} after {after}: {status}");
            }
            if !here.has_happened() {
                assert!(after > 5, "there are more calls than {after}");
                break;
            }
            tokio::time::sleep(Duration::from_secs(30)).await;
            for origin in [APP, REPLICA] {
                assert_eq!(world.tok_at(origin, &alice).await.0, 200, "{name} after {after}");
            }
            let refreshes = (world.op.refreshes().len(), world.op.reuse_detected());
            assert_eq!(refreshes, (1, 0), "{name} after {after}");
        }
    }
}

/// And at every call to the provider: the request is lost, its answer is, or the provider cannot.
#[tokio::test(start_paused = true)]
async fn every_single_failure_of_the_provider_is_survived() {
    for (name, fault, statuses, reused) in [
        ("the request is lost", Fault::Hang, [200, 200], 0),
        ("the connection is refused", Fault::Refuse, [200, 200], 0),
        ("the answer is lost", Fault::DropAnswer, [403, 403], 1),
        ("the provider cannot", Fault::Status(503), [200, 503], 0),
    ] {
        let (world, alice, ..) = two_replicas().await;
        world.ticking(&world.clock);
        world.net.fault(OP, "/token", fault.once());
        let mut got = Vec::new();
        for answer in [world.asking(APP, &alice), world.asking(REPLICA, &alice)] {
            got.push(answer.await.unwrap().unwrap().status().as_u16());
        }
        // Either of them may have taken the lease.
        got.sort_unstable();
        assert_eq!((got.as_slice(), world.op.reuse_detected()), (&statuses[..], reused), "{name}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.sign_in(&alice, "alice").await;
        world.token_of(&alice, "alice").await;
    }
}
