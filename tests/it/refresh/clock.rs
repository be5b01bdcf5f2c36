//! Time: early refreshes and clocks that jump.

use std::time::Duration;

use tower_oidc::EventCode;

use super::{HOUR, expired, settle};
use crate::support::app::{OP, World};
use crate::support::fault::Fault;

#[tokio::test]
async fn a_token_is_renewed_early_in_the_background_while_the_old_one_serves() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let old = world.token_of(&alice, "alice").await;
    world.clock.advance(HOUR - Duration::from_secs(126));
    assert_eq!(world.token_of(&alice, "alice").await, old);
    settle().await;
    assert_eq!(world.op.refreshes().len(), 0, "not before two minutes and the way there are left");
    world.clock.advance(Duration::from_secs(62));
    let gate = world.gate_answers();
    for _ in 0..20 {
        assert_eq!(world.token_of(&alice, "alice").await, old, "nobody waits");
    }
    gate.wait_for_arrivals(1).await;
    gate.open();
    world.app.layer.drain().await;
    assert_eq!(world.op.refreshes().len(), 1);
    assert_ne!(world.token_of(&alice, "alice").await, old);
}

#[tokio::test]
async fn early_refreshes_of_many_grants_are_spread() {
    let world = World::new();
    let mut browsers = Vec::new();
    for _ in 0..24 {
        browsers.push(world.signed_in("alice").await);
    }
    world.clock.advance(HOUR - Duration::from_secs(130));
    let mut waves = Vec::new();
    for _ in 0..13 {
        world.clock.advance(Duration::from_secs(5));
        let before = world.op.refreshes().len();
        for browser in &browsers {
            world.token_of(browser, "alice").await;
        }
        world.app.layer.drain().await;
        waves.push(world.op.refreshes().len() - before);
    }
    assert_eq!(waves.iter().sum::<usize>(), 24, "{waves:?}");
    assert!(waves.iter().all(|wave| *wave <= 12), "in one wave: {waves:?}");
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_blocks_nobody() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.clock.rewind(24 * HOUR);
    world.token_of(&alice, "alice").await;
    world.clock.advance(25 * HOUR);
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_and_a_pause_from_before_the_jump_do_not_outlast_it() {
    // A process dies with the lease in its hands, and the clock is put right by a day.
    let (world, alice) = expired().await;
    // (Its ID tokens would be from before the login.)
    world.op.set(|op| op.id_token_on_refresh = false);
    world.dies_at(&world.gate(), &alice);
    world.clock.rewind(24 * HOUR);
    // The token is good by this clock; an API says otherwise.
    world.api.refuse("/cal/x", 1, "Bearer");
    let fetched = world.ask(super::APP, &alice, "/fetch?u=https://api.test/cal/x").await.unwrap();
    assert_eq!(fetched.status(), 200, "{fetched:?}");
    assert_eq!(world.op.reuse_detected(), 0);

    // The provider failed a moment ago, and the clock is put back.
    world.clock.advance(2 * HOUR);
    world.net.fault(OP, "/token", Fault::Status(503));
    assert_eq!(world.tok(&alice).await.0, 503);
    world.net.heal(OP);
    world.clock.rewind(Duration::from_secs(30));
    world.token_of(&alice, "alice").await;
    assert_eq!(world.app.events.count(EventCode::RefreshFailed), 1);
}
