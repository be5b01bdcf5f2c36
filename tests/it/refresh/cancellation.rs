//! Clients that hang up, at every await there is: enumerated, not sampled.

use std::pin::pin;
use std::task::Poll;

use super::store::FaultyStore;
use super::{APP, HOUR, OP, World};
use crate::support::browser::Browser;
use crate::support::fault::Fault;

/// Polls at most `k` times, each time after it was woken; `None` where it was dropped before its end.
async fn polled<T>(k: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = k;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Every call to the store and to the provider is an await that waits.
async fn world() -> (World, Browser) {
    let mut world = World::new();
    let mut store = FaultyStore::over(world.app.store.clone());
    store.yields = true;
    world.serve_over(store, |mut config| {
        config.max_staleness = std::time::Duration::ZERO;
        config
    });
    world.net.fault(OP, "/", Fault::SlowAnswer(std::time::Duration::from_millis(1)));
    let browser = world.browser();
    (world, browser)
}

#[tokio::test(start_paused = true)]
async fn a_refresh_survives_a_client_that_hangs_up_at_any_await() {
    let mut k = 0;
    loop {
        k += 1;
        let (world, alice) = world().await;
        world.sign_in(&alice, "alice").await;
        world.clock.advance(HOUR);
        let done = polled(k, world.ask(APP, &alice, "/tok")).await.is_some();
        // Whatever it left under way goes on without it.
        world.app.layer.drain().await;
        world.token_of(&alice, "alice").await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0), "dropped after {k} polls");
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0), "dropped after {k} polls");
        if done {
            break;
        }
    }
    assert!(k > 5, "there are more awaits than {k}");
}

/// The same for the way through an API that says 401.
#[tokio::test(start_paused = true)]
async fn a_call_to_an_api_may_be_given_up_at_any_await() {
    let mut k = 0;
    loop {
        k += 1;
        let (world, alice) = world().await;
        world.sign_in(&alice, "alice").await;
        world.api.refuse("/cal/x", 1, "Bearer");
        let done = polled(k, world.ask(APP, &alice, "/fetch?u=https://api.test/cal/x")).await.is_some();
        world.app.layer.drain().await;
        world.api.behave();
        world.token_of(&alice, "alice").await;
        assert!(world.op.refreshes().len() <= 1, "dropped after {k} polls");
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
        assert_eq!(world.op.reuse_detected(), 0, "dropped after {k} polls");
        if done {
            break;
        }
    }
    assert!(k > 5, "there are more awaits than {k}");
}

/// A browser that goes away during its callback: the code is spent once, and the next visit signs in.
#[tokio::test(start_paused = true)]
async fn a_login_survives_a_client_that_hangs_up_at_any_await() {
    let mut k = 0;
    loop {
        k += 1;
        let (world, alice) = world().await;
        world.op.sign_in_as("alice");
        let start = alice.step(&format!("{APP}/auth/login?return_to=/who")).await;
        let back = alice.follow(&start).await;
        let callback = back.location().unwrap().strip_prefix(APP).unwrap().to_owned();
        let done = polled(k, world.ask(APP, &alice, &callback)).await;
        world.app.layer.drain().await;
        assert!(world.op.code_exchanges().len() <= 1, "dropped after {k} polls");
        // The same address once more (a browser that tries again), and then a new login.
        let again = alice.follow(&back).await;
        assert_eq!(again.status, 303, "dropped after {k} polls: {}", again.text());
        assert_eq!((world.op.code_exchanges().len(), world.op.code_reuse_detected()), (1, 0), "after {k} polls");
        world.sign_in(&alice, "alice").await;
        world.token_of(&alice, "alice").await;
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0), "after {k} polls");
        if done.is_some() {
            break;
        }
    }
    // The body, and the task in which everything else happens.
    assert!(k >= 2, "there are more awaits than {k}");
}
