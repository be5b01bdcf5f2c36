//! A provider that is away is left alone: by everybody together, and for no longer than it is away.

use std::time::Duration;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::store::{FaultyStore, Mode};
use super::{APP, HOUR, LEASE, OP, PAUSE, REPLICA, World};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::net::answer;
use crate::support::provider::Endpoint;

const SECOND: Duration = Duration::from_secs(1);

/// So many people, whose tokens are over.
pub(super) async fn crowd_of(world: &World, people: usize) -> Vec<Browser> {
    let mut crowd = Vec::new();
    for number in 0..people {
        let name = format!("person{number}");
        world.op.user(&name, |_| {});
        crowd.push(world.signed_in(&name).await);
    }
    world.clock.advance(HOUR);
    crowd
}

/// Everybody asks for a token, one after the other; how many get one.
async fn good(world: &World, crowd: &[Browser]) -> usize {
    let mut good = 0;
    for browser in crowd {
        let (status, said) = world.tok(browser).await;
        assert!(matches!(status, 200 | 503), "{status} {said}");
        good += usize::from(status == 200);
    }
    good
}

/// Twenty people ask every second for half a minute. Before the first three have failed nobody knows; from then on one asks
/// at a time.
#[tokio::test]
async fn a_provider_that_is_away_costs_few_writes_and_few_requests() {
    for (fault, asks) in [(Fault::Status(503), 1), (Fault::Status(500), 1), (Fault::Refuse, 2)] {
        let why = format!("{fault:?}");
        let world = World::new();
        let (watched, _app) = world.watched();
        let crowd = crowd_of(&world, 20).await;
        world.net.fault(OP, "/token", fault);
        let (writes, requests) = (watched.writes(), world.net.requests(OP).len());
        for _ in 0..30 {
            assert_eq!(good(&world, &crowd).await, 0, "{why}");
            world.clock.advance(SECOND);
        }
        let (writes, requests) = (watched.writes() - writes, world.net.requests(OP).len() - requests);
        assert!(
            writes <= 30 + 6,
            "{why}: a lease and its return for each of the first three, then one a second: {writes}"
        );
        assert!(requests <= asks * (15 + 3), "{why}: {requests}");
        // It is asked for as long as it is away, and used as soon as it is back.
        assert!(requests >= asks * (30 / 3), "{why}: {requests}");
        world.net.heal(OP);
        let mut waited = Duration::ZERO;
        while good(&world, &crowd).await == 0 {
            world.clock.advance(SECOND / 4);
            waited += SECOND / 4;
        }
        assert!(waited <= 3 * SECOND, "{why}: {waited:?}");
        world.clock.advance(PAUSE);
        assert_eq!(good(&world, &crowd).await, 20, "{why}: everybody");
    }
}

/// One person's access is limited; everybody else's is not.
#[tokio::test]
async fn a_429_is_one_persons_and_three_are_the_providers() {
    for (limited, held) in [(1, false), (2, false), (3, true)] {
        let world = World::new();
        let crowd = crowd_of(&world, 5).await;
        let mut busy = answer(429, "");
        busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("30"));
        world.op.answer_with(Endpoint::Refresh, busy);
        assert_eq!(good(&world, &crowd[..limited]).await, 0);
        world.op.honest();
        let asked = world.op.refreshes().len();
        let page = crowd[3].navigate(&format!("{APP}/tok")).await;
        assert_eq!(page.status, if held { 503 } else { 200 }, "{limited}");
        assert_eq!(world.op.refreshes().len() - asked, usize::from(!held), "{limited}");
        if held {
            let after: u64 = page.header("retry-after").unwrap().parse().unwrap();
            assert!((30..=31).contains(&after), "{after}");
        }
        assert_eq!(good(&world, &crowd[..limited]).await, 0, "{limited}: they wait, whoever else is served");
        world.clock.advance(31 * SECOND);
        assert_eq!(good(&world, &crowd[4..]).await, 1, "{limited}");
        world.clock.advance(PAUSE);
        assert_eq!(good(&world, &crowd).await, 5, "{limited}");
    }
}

/// Whoever asks whether the provider is back, and is overtaken at the store, asks all the same.
#[tokio::test]
async fn who_is_overtaken_at_the_lease_is_not_held_back_by_itself() {
    for (name, mode) in [("works", Mode::Works), ("overtaken", Mode::Overtaken), ("unheard", Mode::OvertakenUnheard)] {
        let mut world = World::new();
        let store = FaultyStore::over(world.app.store.clone());
        world.serve_over(store.clone(), |config| config);
        let crowd = crowd_of(&world, 4).await;
        world.net.fault(OP, "/token", Fault::Status(503));
        assert_eq!(good(&world, &crowd).await, 0);
        world.net.heal(OP);
        world.clock.advance(3 * SECOND);
        store.swaps(mode);
        assert_eq!(good(&world, &crowd[3..]).await, 1, "{name}");
    }
}

/// Who got no answer, and has lost the lease meanwhile, asks again like any other: not where the provider is away.
#[tokio::test(start_paused = true)]
async fn who_got_no_answer_is_held_back_like_any_other() {
    for away in [false, true] {
        let mut world = World::new();
        let store = FaultyStore::over(world.app.store.clone());
        world.serve_over(store.clone(), |config| config);
        let _replica = world.replica();
        let crowd = crowd_of(&world, 4).await;
        // Its call, and the one that it makes when the first has got no answer.
        world.net.fault(OP, "/token", Fault::Hang.times(2));
        let before = world.net.count(OP, "/token");
        let unanswered = world.asking(APP, &crowd[0]);
        while world.net.count(OP, "/token") == before {
            tokio::task::yield_now().await;
        }
        // Cut off from the store. Another process takes the lease, fails, and gives it back.
        store.swaps(Mode::Fails);
        world.clock.advance(LEASE);
        world.op.answer(Endpoint::Refresh, 503, "text/plain", "");
        assert_eq!(world.tok_at(REPLICA, &crowd[0]).await.0, 503);
        store.swaps(Mode::Works);
        if away {
            assert_eq!(good(&world, &crowd[1..]).await, 0);
        }
        world.op.honest();
        let asked = world.net.count(OP, "/token");
        let answer = unanswered.await.unwrap().unwrap();
        assert_eq!(answer.status(), if away { 503 } else { 200 }, "{away}");
        assert_eq!(world.net.count(OP, "/token") - asked, usize::from(!away), "{away}");
    }
}

/// Whoever waits for another process's refresh asks nothing: somebody else may.
#[tokio::test]
async fn who_waits_for_another_process_leaves_the_question_to_others() {
    let mut world = World::new();
    let store = FaultyStore::over(world.app.store.clone());
    world.serve_over(store.clone(), |config| config);
    let _replica = world.replica();
    let crowd = crowd_of(&world, 4).await;
    world.net.fault(OP, "/token", Fault::Status(503));
    assert_eq!(good(&world, &crowd).await, 0);
    world.net.heal(OP);
    world.clock.advance(3 * SECOND);
    // It is to ask, and another process has the lease a moment earlier.
    let (lease, question) = (Gate::new(), world.gate());
    store.swaps(Mode::Gate(lease.clone()));
    let overtaken = world.asking(APP, &crowd[0]);
    lease.wait_for_arrivals(1).await;
    let asking = world.asking(REPLICA, &crowd[0]);
    question.wait_for_arrivals(1).await;
    store.swaps(Mode::Works);
    lease.open();
    world.somebody_waits().await;
    world.net.heal(OP);
    world.clock.advance(3 * SECOND);
    assert_eq!(good(&world, &crowd[1..2]).await, 1);
    question.open();
    for asked in [overtaken, asking] {
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(world.op.reuse_detected(), 0);
}

/// A refusal that says something of a grant is an answer of a provider that is there.
#[tokio::test]
async fn refusals_of_grants_are_no_outage() {
    let world = World::new();
    let crowd = crowd_of(&world, 5).await;
    world.op.answer_error(Endpoint::Refresh, 400, "invalid_grant");
    for browser in &crowd[..4] {
        assert_eq!(world.tok(browser).await.0, 403);
    }
    world.op.honest();
    assert_eq!(good(&world, &crowd[4..]).await, 1);
}

/// Logins go on, and the first of them says that the provider is there.
#[tokio::test]
async fn logins_are_never_held_back_and_any_success_ends_it() {
    let world = World::new();
    let crowd = crowd_of(&world, 5).await;
    world.op.answer(Endpoint::Refresh, 503, "text/plain", "");
    assert_eq!(good(&world, &crowd).await, 0);
    assert_eq!(world.op.refreshes().len(), 3, "nobody asks any more");
    world.signed_in("alice").await;
    world.op.honest();
    world.clock.advance(PAUSE);
    assert_eq!(good(&world, &crowd).await, 5, "at once");
}
