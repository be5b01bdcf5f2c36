//! Many at once in one process.

use std::collections::HashSet;

use http::Method;
use tower_oidc::{EventCode, Resource};

use super::{HOUR, expired, expired_in, settle};
use crate::support::app::{API, APP, EVIL, OP, World};
use crate::support::browser::Browser;
use crate::support::fault::Fault;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn however_many_ask_at_once_one_refresh_is_made() {
    for n in [2, 5, 50] {
        let (world, alice) = expired().await;
        let gate = world.gate();
        let (answers, ()) = tokio::join!(world.crowd(&alice, n), async {
            gate.wait_for_arrivals(1).await;
            settle().await;
            gate.open();
        });
        let distinct: HashSet<_> = answers.into_iter().collect();
        assert_eq!(distinct.len(), 1, "{distinct:?}");
        assert_eq!(distinct.iter().next().unwrap().0, 200);
        assert_eq!((world.op.refreshes().len(), gate.arrived()), (1, 1));
    }
}

#[tokio::test]
async fn fifty_calls_at_the_moment_of_expiry_are_one_refresh_and_fifty_answers() {
    let (world, alice) = expired().await;
    for round in 1..=3 {
        let calls: Vec<_> =
            (0..50).map(|n| tokio::spawn(world.ask(APP, &alice, &format!("/fetch?u={API}/cal/{n}")))).collect();
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200);
            assert!(String::from_utf8_lossy(answer.body()).contains("alice"));
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (round, 0), "the rotated one is kept");
        world.clock.advance(HOUR);
    }
}

/// Two resources with tokens of their own, one refresh token: one after the other, each its own.
#[tokio::test]
async fn refreshes_for_several_resources_take_turns() {
    const APIS: usize = 12;
    let world = World::with(|mut config| {
        config.provider.resources.clear();
        (0..APIS).fold(config, |config, n| {
            let url = format!("{API}/{n}/");
            config.resource(Resource::new(format!("api{n}"), &url).indicator(url))
        })
    });
    let alice = world.signed_in("alice").await;
    for round in 1..=2 {
        let ask = |n| tokio::spawn(world.ask(APP, &alice, &format!("/fetch?u={API}/{n}/x")));
        let calls: Vec<_> = (0..APIS).chain(0..APIS).map(ask).collect();
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200, "{answer:?}");
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (round * APIS, 0));
        world.clock.advance(HOUR);
    }
    for seen in world.api.requests() {
        let token = seen.authorization.unwrap().split_off("Bearer ".len());
        let meant = format!("{API}/{}/", seen.path_and_query.split('/').nth(1).unwrap());
        assert_eq!(world.op.issued(&token).unwrap().resources, [meant], "one API never sees another's token");
    }
}

/// What one resource is refused holds up neither those who wait for another, nor those who come after.
#[tokio::test]
async fn a_resource_that_is_refused_leaves_the_others_alone() {
    for (error, alone) in [("invalid_target", true), ("invalid_scope", true), ("invalid_client", false)] {
        let world = World::with(|mut config| {
            config.provider.resources.clear();
            ["a", "b"].into_iter().fold(config, |config, name| {
                let url = format!("{API}/{name}/");
                config.resource(Resource::new(name, &url).indicator(url))
            })
        });
        let alice = world.signed_in("alice").await;
        let call = |name: &str| tokio::spawn(world.ask(APP, &alice, &format!("/fetch?u={API}/{name}/x")));
        let status = async |call: tokio::task::JoinHandle<_>| {
            let answer: Result<http::Response<bytes::Bytes>, crate::support::net::BoxError> = call.await.unwrap();
            answer.unwrap().status().as_u16()
        };
        let gate = world.gate_answers();
        world.op.answer_error(Endpoint::Refresh, 400, error);
        let refused = call("a");
        gate.wait_for_arrivals(1).await;
        world.op.honest();
        let waits = call("b");
        settle().await;
        gate.open();
        let other = if alone { 200 } else { 503 };
        assert_eq!((status(refused).await, status(waits).await), (503, other), "{error}");
        // A failure is asked for once a second, and only what failed is left alone.
        assert_eq!((status(call("a")).await, status(call("b")).await), (503, other), "{error}");
        assert_eq!(world.op.refreshes().len(), if alone { 2 } else { 1 }, "{error}");
        world.clock.advance(super::PAUSE);
        assert_eq!((status(call("a")).await, status(call("b")).await), (200, 200), "{error}");
    }
}

#[tokio::test]
async fn the_first_caller_hangs_up_and_everybody_else_is_served() {
    let (world, alice) = expired().await;
    let gate = world.gate_answers();
    let first = world.asking(APP, &alice);
    gate.wait_for_arrivals(1).await;
    let second = world.asking(APP, &alice);
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

#[tokio::test]
async fn many_people_refresh_at_once_and_stay_apart() {
    let world = World::new();
    let mut people = Vec::new();
    for n in 0..20 {
        let name = format!("{}{n}", char::from(b'a' + n));
        world.op.user(&name, |_| ());
        people.push((world.signed_in(&name).await, name));
    }
    world.clock.advance(HOUR);
    let ask = |(browser, name): &(Browser, String)| {
        (0..15).map(|_| (tokio::spawn(world.ask(APP, browser, "/tok")), name.clone())).collect::<Vec<_>>()
    };
    let asked: Vec<_> = people.iter().flat_map(ask).collect();
    for (answer, name) in asked {
        let answer = answer.await.unwrap().unwrap();
        let token = String::from_utf8(answer.body().to_vec()).unwrap();
        assert_eq!(world.op.owner_of(&token), Some(name));
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (20, 0));
}

#[tokio::test]
async fn two_people_never_see_each_others_tokens() {
    let world = World::new();
    let people = [(world.signed_in("alice").await, "alice"), (world.signed_in("bob").await, "bob")];
    let asked: Vec<_> = (0..200)
        .map(|n| {
            if n % 50 == 0 {
                world.clock.advance(HOUR);
            }
            let (browser, name) = &people[n % 2];
            (tokio::spawn(world.ask(APP, browser, "/tok")), *name)
        })
        .collect();
    for (answer, name) in asked {
        let token = String::from_utf8(answer.await.unwrap().unwrap().body().to_vec()).unwrap();
        assert_eq!(world.op.owner_of(&token).as_deref(), Some(name));
    }
    assert_eq!(world.op.reuse_detected(), 0);
    assert!(world.evil.requests().is_empty(), "{EVIL}");
}

#[tokio::test]
async fn nobody_has_no_tokens_and_nothing_happens() {
    let world = World::new();
    let nobody = world.browser();
    assert_eq!(nobody.step(&format!("{APP}/tok")).await.status, 303);
    assert_eq!(nobody.fetch(Method::GET, &format!("{APP}/fetch?u={API}/cal/x"), "", APP).await.status, 401);
    assert!(world.app.store.is_empty());
    assert!(world.api.requests().is_empty() && world.op.token_requests().is_empty());
}

/// A slow provider holds up those who need it, and nobody else.
#[tokio::test]
async fn other_peoples_requests_are_not_held_up() {
    let (world, alice) = expired().await;
    let bob = world.signed_in("bob").await;
    let gate = world.gate();
    let waiting = world.asking(APP, &alice);
    gate.wait_for_arrivals(1).await;
    world.token_of(&bob, "bob").await;
    assert_eq!(alice.navigate(&format!("{APP}/who")).await.json()["sub"], "a1", "her own other pages neither");
    gate.open();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_costs_a_bounded_time_and_no_logout() {
    let (world, alice) = expired().await;
    world.net.fault(OP, "/token", Fault::Hang);
    let started = tokio::time::Instant::now();
    assert_eq!(world.tok(&alice).await.0, 503);
    assert!(started.elapsed() <= std::time::Duration::from_secs(25), "{:?}", started.elapsed());
    world.net.heal(OP);
    world.clock.advance(super::PAUSE);
    world.token_of(&alice, "alice").await;
}

/// The answer is lost after the provider rotated: asked for once more, then ended cleanly.
#[tokio::test]
async fn a_lost_answer_is_asked_for_once_more() {
    for (rotates, status) in [(false, 200), (true, 403)] {
        let world = World::new();
        world.op.set(|op| op.rotate_refresh_tokens = rotates);
        let alice = world.signed_in("alice").await;
        world.clock.advance(HOUR);
        world.net.fault(OP, "/token", Fault::DropAnswer.once());
        for (got, said) in world.crowd(&alice, 20).await {
            assert_eq!(got, status, "{said}");
        }
        assert_eq!((world.op.refreshes().len(), world.tok(&alice).await.0), (2, status));
        let page = alice.visit(&format!("{APP}/tok")).await;
        assert_eq!(page.status, 200, "one login at the most, and no loop");
    }
}

#[tokio::test]
async fn a_logout_during_a_refresh_brings_nothing_back() {
    for revoke in [true, false] {
        let (world, alice) = expired_in(revoking(revoke)).await;
        let rows = world.app.store.len();
        let gate = world.gate_answers();
        let waiting = world.asking(APP, &alice);
        gate.wait_for_arrivals(1).await;
        let links = alice.navigate(&format!("{APP}/links?to=/")).await.json();
        alice.navigate(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
        gate.open();
        assert_eq!(waiting.await.unwrap().unwrap().status(), 401);
        world.app.layer.drain().await;
        assert_eq!(world.app.store.len(), rows - 2, "neither session nor grant");
        assert_eq!(world.op.refreshes().len(), 1);
        // Where one revocation may end everything of the person, logout does not ask for it, and neither does this.
        assert_eq!(world.op.revocations().is_empty(), !revoke);
        assert_eq!(world.op.live_refresh_tokens().is_empty(), revoke);
    }
}

fn revoking(revoke: bool) -> World {
    World::with(|mut config| {
        config.provider.revoke_at_logout = revoke;
        config
    })
}

#[tokio::test]
async fn another_person_signs_in_during_a_refresh() {
    let (world, browser) = expired_in(revoking(true)).await;
    let gate = world.gate_answers();
    let waiting = world.asking(APP, &browser);
    gate.wait_for_arrivals(1).await;
    world.net.heal(OP);
    world.sign_in(&browser, "bob").await;
    gate.open();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 401, "alice's request gets nothing, of alice or of bob: {answer:?}");
    world.app.layer.drain().await;
    world.token_of(&browser, "bob").await;
    assert!(world.op.live_refresh_tokens().iter().all(|(_, owner)| owner == "bob"));
    assert!(!world.app.events.has(EventCode::RefreshOwnerMismatch));
}

/// A deploy: told to stop while a hundred refreshes wait for their answers.
#[tokio::test(start_paused = true)]
async fn drain_returns_when_every_refresh_under_way_is_written() {
    let world = World::new();
    let mut browsers = Vec::new();
    for _ in 0..100 {
        browsers.push(world.signed_in("alice").await);
    }
    world.clock.advance(HOUR);
    let gate = world.gate_answers();
    let asked: Vec<_> = browsers.iter().map(|browser| world.asking(APP, browser)).collect();
    gate.wait_for_arrivals(100).await;
    // The server has stopped: nobody waits for an answer any more.
    asked.iter().for_each(|request| request.abort());
    let mut draining = tokio::spawn({
        let layer = world.app.layer.clone();
        async move { layer.drain().await }
    });
    settle().await;
    assert!(!draining.is_finished());
    for _ in 0..99 {
        gate.pass_one();
    }
    settle().await;
    assert!(!draining.is_finished(), "one is left");
    gate.pass_one();
    (&mut draining).await.unwrap();
    world.net.heal(OP);
    // The next process finds them all.
    let next = world.another(|config| config);
    for browser in &browsers {
        world.token_of(browser, "alice").await;
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (100, 0));
    drop(next);
}
