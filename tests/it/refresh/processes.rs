//! Two processes over one store.

use std::time::Duration;

use tower_oidc::EventCode;

use super::away::crowd_of;
use super::store::{FaultyStore, Mode};
use super::{APP, HOUR, LEASE, REPLICA, World, expired, expired_in, settle};
use crate::support::app::OP;
use crate::support::fault::{Fault, Gate};
use crate::support::store::{Trouble, Verb};

#[tokio::test]
async fn whoever_finds_a_lease_waits_and_takes_what_the_other_brought() {
    let (world, alice) = expired().await;
    let replica = world.replica();
    let gate = world.gate();
    let here: Vec<_> = (0..25).map(|_| world.asking(APP, &alice)).collect();
    gate.wait_for_arrivals(1).await;
    let there: Vec<_> = (0..25).map(|_| world.asking(REPLICA, &alice)).collect();
    world.somebody_waits().await;
    assert_eq!(gate.arrived(), 1, "the lease is respected");
    gate.open();
    let mut tokens = std::collections::HashSet::new();
    for asked in here.into_iter().chain(there) {
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        tokens.insert(answer.into_body());
    }
    assert_eq!((tokens.len(), world.op.refreshes().len()), (1, 1));
    // A flight there, woken. (Who read the old grant, and came when it had landed, makes another that adopts too.)
    assert!(replica.events.has(EventCode::RefreshAdopted));
}

/// Woken by the write, not by its own clock, which would have it look again after eight seconds.
#[tokio::test(start_paused = true)]
async fn the_wait_ends_with_the_write() {
    let (world, alice) = expired().await;
    let _replica = world.replica();
    let gate = world.gate();
    let here = world.asking(APP, &alice);
    gate.wait_for_arrivals(1).await;
    let there = world.asking(REPLICA, &alice);
    world.somebody_waits().await;
    let before = tokio::time::Instant::now();
    gate.open();
    assert_eq!(there.await.unwrap().unwrap().status(), 200);
    // Not quite none: where the rows are in a database, that one's time passes too.
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    here.await.unwrap().unwrap();
}

/// Whoever waits for another process is out of the line at the store: however many wait, others are refreshed.
#[tokio::test]
async fn those_who_wait_for_another_process_hold_up_nobody() {
    let world = World::new();
    let _replica = world.replica();
    let crowd = crowd_of(&world, 34).await;
    let (last, waiting) = crowd.split_last().unwrap();
    let gate = world.gate();
    let mut asked: Vec<_> = waiting.iter().map(|browser| world.asking(REPLICA, browser)).collect();
    gate.wait_for_arrivals(waiting.len()).await;
    world.net.heal(OP);
    asked.extend(waiting.iter().map(|browser| world.asking(APP, browser)));
    while world.app.store.waits() < waiting.len() {
        settle().await;
    }
    let (status, said) = world.tok(last).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(gate.arrived(), waiting.len(), "the control: all the others wait");
    gate.open();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (34, 0));
}

/// While the provider takes its time the lease is renewed, and no more often than it must be. A renewal that failed is tried
/// again soon.
#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_at_its_pace() {
    for (renewal, expected) in [(None, 1 + 2), (Some(Trouble::FailOnce), 1 + 3)] {
        let world = World::new();
        let (store, _app) = world.watched();
        let (world, alice) = expired_in(world).await;
        let gate = world.gate();
        let asked = world.asking(APP, &alice);
        gate.wait_for_arrivals(1).await;
        settle().await;
        let before = store.writes() - 1;
        renewal.into_iter().for_each(|trouble| store.trouble(Verb::Swap, trouble));
        tokio::time::sleep(Duration::from_millis(8500)).await;
        assert_eq!(store.writes() - before, expected);
        gate.open();
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_lease_elsewhere_does_not_hold_up_a_token_that_is_still_good() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let _replica = world.replica();
    world.clock.advance(HOUR - Duration::from_secs(50));
    let gate = world.gate();
    let old = world.token_of(&alice, "alice").await;
    gate.wait_for_arrivals(1).await;
    assert_eq!(world.tok_at(REPLICA, &alice).await, (200, old));
    gate.open();
    world.app.layer.drain().await;
    assert_eq!(world.op.refreshes().len(), 1);
}

/// A process dies between its lease and its request: the next one takes over when the lease runs out.
#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dead_process_runs_out() {
    let (world, alice) = expired().await;
    world.dies_at(&world.gate(), &alice);
    assert_eq!(world.tok(&alice).await.0, 503, "within the requests' patience nobody may");
    assert_eq!(world.op.refreshes().len(), 0);
    world.clock.advance(LEASE);
    // The flight that waited goes on by itself; requests come along.
    tokio::time::advance(LEASE).await;
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

/// What another process wrote a moment ago is found before anything is asked: the store is the cache of successors.
#[tokio::test]
async fn a_successor_that_is_there_is_used() {
    let (world, alice) = expired().await;
    let _replica = world.replica();
    let token = world.tok_at(REPLICA, &alice).await;
    assert_eq!(world.tok(&alice).await, token);
    assert_eq!(world.op.refreshes().len(), 1);
}

/// Cut off from the store for longer than its lease, and refused because somebody else has spent the token: it takes
/// theirs, and ends nothing.
#[tokio::test(start_paused = true)]
async fn invalid_grant_ends_only_the_generation_that_was_refused() {
    let mut world = World::new();
    let store = FaultyStore::over(world.app.store.clone());
    world.serve_over(store.clone(), |config| config);
    let (world, alice) = expired_in(world).await;
    let replica = world.replica();
    let gate = Gate::new();
    // Its call, and the one that it makes when the first has got no answer.
    world.net.fault(OP, "/token", Fault::Gate(gate.clone()).times(2));
    let slow = world.asking(APP, &alice);
    gate.wait_for_arrivals(1).await;
    store.swaps(Mode::Fails);
    world.clock.advance(LEASE);
    let (status, successor) = world.tok_at(REPLICA, &alice).await;
    assert_eq!((status, gate.arrived()), (200, 2));
    gate.open();
    let answer = slow.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.into_body()), (200, successor.clone().into()));
    assert!(world.app.events.has(EventCode::RefreshAdopted) && !world.app.events.has(EventCode::RefreshRefused));
    assert_eq!(world.tok_at(REPLICA, &alice).await, (200, successor));
    assert_eq!(replica.events.count(EventCode::RefreshSucceeded), 1);
}

/// Rotated, and dead before the write: nobody has the successor. It ends in one login, for both processes.
#[tokio::test(start_paused = true)]
async fn a_crash_between_rotation_and_write_ends_cleanly() {
    let (world, alice) = expired().await;
    world.dies_at(&world.gate_answers(), &alice);
    world.clock.advance(LEASE);
    for (status, _) in world.crowd(&alice, 20).await {
        assert_eq!(status, 403);
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 1), "spent a second time, once");
    let page = alice.visit(&format!("{APP}/tok")).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/tok"));
}
