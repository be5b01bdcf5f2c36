//! Written before it is used, and kept in memory while the store fails.

use std::time::Duration;

use tower_oidc::EventCode;

use super::store::{FaultyStore, Mode};
use super::{APP, Asking, HOUR, OP, PAUSE, World, code, settle};
use crate::support::browser::Browser;
use crate::support::fault::Gate;
use crate::support::provider::Endpoint;

async fn world() -> (World, Browser, FaultyStore) {
    let mut world = World::new();
    let store = FaultyStore::over(world.app.store.clone());
    world.serve_over(store.clone(), |mut config| {
        config.max_staleness = 10 * HOUR;
        config
    });
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    (world, alice, store)
}

/// She asks for a token, and the provider answers while writes to the store do this.
async fn answered_while(world: &World, alice: &Browser, store: &FaultyStore, mode: Mode) -> Asking {
    let gate = world.gate_answers();
    let waiting = world.asking(APP, alice);
    gate.wait_for_arrivals(1).await;
    store.swaps(mode);
    gate.open();
    waiting
}

/// The provider has answered, and the store fails in every way it can: the rotated token survives.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_kept_and_tried_again() {
    for (name, mode) in [
        ("fails", Mode::Fails),
        ("lies", Mode::Lies),
        ("hangs", Mode::Hangs),
        ("hangs after it wrote", Mode::HangsAfter),
    ] {
        let (world, alice, store) = world().await;
        let waiting = answered_while(&world, &alice, &store, mode).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let written = matches!(name, "lies" | "hangs after it wrote");
        assert_eq!((waiting.is_finished(), world.op.refreshes().len()), (written, 1), "{name}");
        store.swaps(Mode::Works);
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200, "{name}");
        world.token_of(&alice, "alice").await;
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0), "{name}");
        // Who does not know whether it is written reads, and finds it.
        let not_written = usize::from(!written);
        assert_eq!(world.app.events.count(EventCode::RefreshPersistFailed), not_written, "{name}");
    }
}

/// A row that the store refuses would be refused again: the flight ends, and the layer can stop. One that it only fails
/// to write is tried again.
#[tokio::test(start_paused = true)]
async fn tokens_that_the_store_refuses_for_good_are_not_tried_for_ever() {
    for (mode, ends) in [(Mode::Refuses, true), (Mode::Fails, false)] {
        let (world, alice, store) = world().await;
        let waiting = answered_while(&world, &alice, &store, mode).await;
        assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
        assert_eq!(world.app.events.count(EventCode::RefreshPersistFailed), 1);
        let drained = tokio::time::timeout(HOUR, world.app.layer.drain()).await;
        assert_eq!(drained.is_ok(), ends, "a flight lands, or goes on");
        store.swaps(Mode::Works);
    }
}

/// What cannot be written is told of once, and once more when it is given up.
#[tokio::test(start_paused = true)]
async fn an_operator_reads_once_that_tokens_are_not_written_and_once_that_they_are_lost() {
    let (world, alice, store) = world().await;
    let waiting = answered_while(&world, &alice, &store, Mode::Fails).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.app.events.count(EventCode::RefreshPersistFailed), 1);
    store.swaps(Mode::Refuses);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    assert_eq!(world.app.events.count(EventCode::RefreshPersistFailed), 2);
}

/// What the provider said is the answer, whether the lease can be given up or not.
#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_given_up_hides_no_refusal() {
    for mode in [Mode::Works, Mode::Fails, Mode::Refuses] {
        let (world, alice, store) = world().await;
        world.op.answer_error(Endpoint::Refresh, 401, "invalid_client");
        let waiting = answered_while(&world, &alice, &store, mode).await;
        let answer = waiting.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!((answer.status().as_u16(), code(&said).as_str()), (503, "operator_action_required"), "{said}");
    }
}

/// Longer than anybody waits: they get 503, nothing is spent again, and the flight finishes.
#[tokio::test(start_paused = true)]
async fn a_long_outage_of_the_store_costs_answers_and_not_the_grant() {
    let (world, alice, store) = world().await;
    let waiting = answered_while(&world, &alice, &store, Mode::Fails).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    for (status, _) in world.crowd(&alice, 20).await {
        assert_eq!(status, 503);
    }
    let draining = tokio::spawn({
        let layer = world.app.layer.clone();
        async move { layer.drain().await }
    });
    settle().await;
    assert!(!draining.is_finished(), "the only copy is in memory");
    store.swaps(Mode::Works);
    draining.await.unwrap();
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

/// The life of a token is counted from when it came, however late it is written; and whoever waited for one that is over
/// by then gets another, not a question for consent.
#[tokio::test(start_paused = true)]
async fn a_token_ages_while_the_store_is_away() {
    for (away, refreshes) in [(HOUR * 5 / 6, 1), (HOUR, 2)] {
        let (world, alice, store) = world().await;
        let waiting = answered_while(&world, &alice, &store, Mode::Fails).await;
        while !world.app.events.has(EventCode::RefreshPersistFailed) {
            settle().await;
        }
        world.clock.advance(away);
        store.swaps(Mode::Works);
        let answer = waiting.await.unwrap().unwrap();
        let token = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(world.op.issued(&token).is_some_and(|issued| issued.live), "{token}");
        assert_eq!(world.op.refreshes().len(), refreshes);
        world.clock.advance(HOUR / 6);
        world.token_of(&alice, "alice").await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

/// Nobody has the new token before the store has.
#[tokio::test]
async fn written_before_used() {
    let (world, alice, store) = world().await;
    let answers = world.gate_answers();
    let waiting = world.asking(APP, &alice);
    answers.wait_for_arrivals(1).await;
    let writes = Gate::new();
    store.swaps(Mode::Gate(writes.clone()));
    answers.open();
    writes.wait_for_arrivals(1).await;
    settle().await;
    assert!(!waiting.is_finished() && world.op.refreshes().len() == 1);
    writes.open();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_spends_no_refresh_token() {
    for load in [true, false] {
        let (world, alice, store) = world().await;
        let set = |mode| if load { store.loads(mode) } else { store.swaps(mode) };
        for mode in [Mode::Fails, Mode::Hangs] {
            set(mode);
            for (status, _) in world.crowd(&alice, 5).await {
                assert_eq!(status, 503, "load {load}");
            }
        }
        assert_eq!(world.op.refreshes().len(), 0, "no lease, no request (load {load})");
        assert!(!world.app.events.has(EventCode::RefreshPersistFailed), "no tokens are lost (load {load})");
        set(Mode::Works);
        world.clock.advance(PAUSE);
        world.token_of(&alice, "alice").await;
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

/// The keys cannot be had: nothing is spent for an answer that could not be verified.
#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_had_are_no_logout() {
    let (mut world, alice, store) = world().await;
    let _replica = world.replica();
    // A process that has not seen the keys yet.
    world.serve_over(store, |config| config);
    world.net.fault(OP, "/jwks", crate::support::fault::Fault::Status(503));
    assert_eq!(world.tok(&alice).await.0, 503);
    assert_eq!((world.op.refreshes().len(), world.op.revocations().len()), (0, 0));
    world.net.heal(OP);
    world.clock.advance(Duration::from_secs(6));
    world.token_of(&alice, "alice").await;

    // Known keys, and new ones just when they cannot be read.
    world.clock.advance(HOUR);
    assert_eq!(world.tok_at(super::REPLICA, &alice).await.0, 200);
    world.clock.advance(HOUR);
    world.op.rotate_keys();
    let gate = Gate::new();
    world.net.fault(OP, "/jwks", crate::support::fault::Fault::Status(503));
    world.net.fault(OP, "/token", crate::support::fault::Fault::Gate(gate.clone()));
    let waiting = world.asking(APP, &alice);
    gate.open();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.clock.advance(Duration::from_secs(17));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished(), "the tokens are worth the patience");
    let elsewhere = world.asking(super::REPLICA, &alice);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.op.refreshes().len(), 3, "longer than one lease, and nobody spends what was spent");
    world.net.heal(OP);
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(elsewhere.await.unwrap().unwrap().status(), 200);
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (3, 0));
}

/// Keys that were read a moment ago are read again before a refreshed ID token is given up.
#[tokio::test(start_paused = true)]
async fn keys_that_change_twice_within_the_throttle_are_no_logout() {
    let (world, alice, _) = world().await;
    let bob = world.signed_in("bob").await;
    world.clock.advance(HOUR);
    world.op.rotate_keys();
    world.token_of(&alice, "alice").await;
    world.op.rotate_keys();
    let waiting = world.asking(APP, &bob);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    world.token_of(&bob, "bob").await;
}
