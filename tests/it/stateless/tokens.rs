//! One refresh for one grant and one expiry, though the grant lies in the browser.

use std::time::Duration;

use axum::routing::get;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use tower_oidc::{Config, Error, Resource, UserTokens};

use super::{HOUR, REPLICA, cookies_of, two_processes};
use crate::support::app::{API, APP, App, OP, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::net::answer;
use crate::support::provider::Endpoint;

/// The browser asks for a token and keeps what the answer sets.
async fn tok(browser: &Browser) -> String {
    let page = browser.navigate(&format!("{APP}/tok")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.text()
}

#[tokio::test]
async fn a_rotated_refresh_token_comes_back_in_the_cookie() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let mut seen = vec![tok(&alice).await];
    for expiry in 1..=5 {
        world.clock.advance(HOUR);
        let before = cookies_of(&alice, "grant");
        let token = tok(&alice).await;
        assert!(!seen.contains(&token));
        assert_ne!(cookies_of(&alice, "grant")[0].value, before[0].value);
        seen.push(token);
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (expiry, 0));
    }
}

/// In this mode: fifty requests with one cookie, and one refresh.
#[tokio::test]
async fn parallel_requests_share_one_refresh() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    let asked: Vec<_> = (0..50).map(|_| tokio::spawn(world.ask(APP, &alice, "/tok"))).collect();
    let mut tokens = Vec::new();
    for answer in asked {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().get_all("set-cookie").iter().count() > 0, "each tells the browser");
        tokens.push(answer.body().clone());
    }
    tokens.dedup();
    assert_eq!((tokens.len(), world.op.refreshes().len()), (1, 1));
}

/// Nothing of the answers arrived: the next request with the old cookie finds the successor.
#[tokio::test]
async fn a_hang_up_loses_nothing() {
    for world in [World::stateless(), two_processes().0] {
        let alice = world.signed_in("alice").await;
        world.clock.advance(HOUR);
        let (_, first) = world.tok(&alice).await;
        // `ask` keeps no cookies: the browser still has the old ones.
        let (status, second) = world.tok(&alice).await;
        assert_eq!((status, world.op.refreshes().len(), world.op.reuse_detected()), (200, 1, 0));
        assert_eq!(first, second);
        world.clock.advance(HOUR * 5);
        let third = tok(&alice).await;
        assert_ne!(third, second);
        assert_eq!(tok(&alice).await, third);
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

#[tokio::test]
async fn where_processes_meet_the_other_finds_the_successor() {
    let (world, _second) = two_processes();
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    let (_, here) = world.tok(&alice).await;
    let (_, there) = world.tok_at(REPLICA, &alice).await;
    assert_eq!((here, world.op.refreshes().len()), (there, 1));
}

/// Two that refresh for two APIs, and the answer of the first comes last: the browser is left with a grant that was
/// overtaken, and finds the newest however long it waits.
#[tokio::test]
async fn an_answer_that_is_overtaken_does_no_harm_later_either() {
    let (world, _) = two_processes();
    let alice = world.signed_in("alice").await;
    let first = tok(&alice).await;
    let older = cookies_of(&alice, "grant");
    world.clock.advance(HOUR);
    let second = tok(&alice).await;
    assert_ne!(first, second);
    // It is shown once, and then the older answer arrives.
    assert_eq!(tok(&alice).await, second);
    world.app.layer.drain().await;
    for cookie in &older {
        let (name, value) = (&cookie.name, &cookie.value);
        alice.set_cookie(APP, &format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=9999"));
    }
    world.clock.advance(Duration::from_secs(11 * 60));
    world.app.layer.delete_expired().await.unwrap();
    assert_eq!(tok(&alice).await, second);
    // Once the browser has shown what it keeps, the row goes.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(tok(&alice).await, second);
    let rows = world.app.store.len();
    world.app.layer.drain().await;
    world.clock.advance(Duration::from_secs(11 * 60));
    world.app.layer.delete_expired().await.unwrap();
    assert!(world.app.store.len() < rows, "nothing is kept for ever");
    assert_eq!(world.op.reuse_detected(), 0);
}

/// Also where one process keeps it for itself, and believes what it has read: once the browser has it, it goes.
#[tokio::test]
async fn what_was_refreshed_is_not_kept_for_ever() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    let token = tok(&alice).await;
    world.app.layer.delete_expired().await.unwrap();
    for minutes in [0, 1, 2] {
        world.clock.advance(Duration::from_secs(60 * minutes));
        assert_eq!(tok(&alice).await, token);
        world.app.layer.drain().await;
    }
    world.clock.advance(Duration::from_secs(9 * 60));
    assert_eq!(world.app.layer.delete_expired().await.unwrap(), 0, "for late requests");
    world.clock.advance(Duration::from_secs(2 * 60));
    assert_eq!(world.app.layer.delete_expired().await.unwrap(), 1);
    assert_eq!(tok(&alice).await, token);
    assert_eq!(world.op.refreshes().len(), 1);
}

/// What this process alone knows is gone with it: a token that is renewed early leaves with the answer that renews it.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_renewed_early_outlives_the_process() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let (_, first) = world.tok(&alice).await;
    world.clock.advance(HOUR - Duration::from_secs(30));
    let second = alice.navigate(&format!("{APP}/tok")).await.text();
    assert_eq!((first == second, world.op.refreshes().len()), (false, 1));
    let next = App::stateless(&world.net, &world.clock, |config| config);
    world.net.serve_service(APP, next.layer.layer(routes()));
    assert_eq!(world.tok(&alice).await, (200, second));
    world.clock.advance(HOUR);
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
}

/// The same where one request renews what it has for two APIs.
#[tokio::test(start_paused = true)]
async fn tokens_that_are_renewed_early_together_outlive_the_process() {
    let both = |mut config: Config| {
        config.provider.resources.clear();
        ["a", "b"].into_iter().fold(config, |config, name| {
            let url = format!("{API}/{name}/");
            config.resource(Resource::new(name, &url).indicator(url))
        })
    };
    let served = |app: &App, world: &World| {
        let ask = |tokens: UserTokens| async move {
            let of = async |name: &str| tokens.access_token(&format!("{API}/{name}/x")).await;
            let (a, b) = tokio::join!(of("a"), of("b"));
            Ok::<_, Error>((a?, b?)).map(|_| "both")
        };
        world.net.serve_service(APP, app.layer.layer(routes().route("/both", get(ask))));
    };
    let world = World::stateless_with(both);
    served(&world.app, &world);
    let alice = world.signed_in("alice").await;
    let ask = async || alice.navigate(&format!("{APP}/both")).await.status.as_u16();
    assert_eq!(ask().await, 200);
    world.clock.advance(HOUR - Duration::from_secs(30));
    let before = world.op.refreshes().len();
    assert_eq!(ask().await, 200);
    world.app.layer.drain().await;
    assert_eq!(world.op.refreshes().len(), before + 2);
    served(&App::stateless(&world.net, &world.clock, both), &world);
    world.clock.advance(HOUR);
    assert_eq!((ask().await, world.op.reuse_detected()), (200, 0));
}

/// A slow provider holds nobody up for long while their token serves, and nobody at all where processes meet.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_renewed_early_serves_meanwhile() {
    for (world, waits) in [(World::stateless(), true), (two_processes().0, false)] {
        let alice = world.signed_in("alice").await;
        let first = world.tok(&alice).await;
        world.clock.advance(HOUR - Duration::from_secs(30));
        world.net.fault(OP, "/token", Fault::SlowAnswer(Duration::from_secs(5)));
        let asked = tokio::time::Instant::now();
        assert_eq!(world.tok(&alice).await, first);
        assert_eq!(asked.elapsed(), Duration::from_secs(if waits { 2 } else { 0 }));
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_ne!(world.tok(&alice).await, first, "the flight went on");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    }
}

/// Each of the answers that waited brings it, whichever of them arrives.
#[tokio::test]
async fn every_answer_brings_a_token_that_is_renewed_early() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let first = tok(&alice).await;
    world.clock.advance(HOUR - Duration::from_secs(30));
    let asked: Vec<_> = (0..5).map(|_| tokio::spawn(world.ask(APP, &alice, "/tok"))).collect();
    for answer in asked {
        let answer = answer.await.unwrap().unwrap();
        assert_ne!(answer.body(), first.as_bytes());
        let set: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
        assert!(set.iter().any(|set| set.contains("-grant")), "{set:?}");
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

/// Two APIs whose tokens age together, and one refresh at a time: the answer of each brings its own.
#[tokio::test]
async fn of_two_tokens_that_age_together_each_reaches_the_browser() {
    let world = World::stateless_with(|mut config| {
        config.provider.resources.clear();
        ["a", "b"].into_iter().fold(config, |config, name| {
            let url = format!("{API}/{name}/");
            config.resource(Resource::new(name, &url).indicator(url))
        })
    });
    let alice = world.signed_in("alice").await;
    let fetch = |name: &str| format!("/fetch?u={API}/{name}/x");
    for name in ["a", "b"] {
        assert_eq!(alice.navigate(&format!("{APP}{}", fetch(name))).await.status, 200);
    }
    world.clock.advance(HOUR - Duration::from_secs(30));
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::Gate(gate.clone()));
    let asked: Vec<_> = ["a", "b"].map(|name| tokio::spawn(world.ask(APP, &alice, &fetch(name)))).into();
    gate.wait_for_arrivals(1).await;
    super::settle().await;
    gate.open();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    let sent: Vec<_> = world.api.requests().into_iter().map(|request| request.authorization.unwrap()).collect();
    let distinct: std::collections::HashSet<_> = sent.iter().collect();
    assert_eq!((sent.len(), distinct.len()), (4, 4), "the old of each, and the new");
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2 + 2, 0));
}

/// Where the browser keeps a grant, a note stays that it counts no more: the note is nothing to take back.
#[tokio::test]
async fn what_was_taken_back_is_not_taken_back_again() {
    let world = World::stateless();
    let take_back = async |tokens: UserTokens| tokens.disconnect("login").await.map(|outcome| format!("{outcome:?}"));
    world.serve(routes().route("/take-back", get(take_back)));
    let alice = world.signed_in("alice").await;
    for said in ["Revoked", "NotConnected"] {
        assert_eq!(alice.navigate(&format!("{APP}/take-back")).await.text(), said);
    }
}

/// A pause that the provider asked for stays with the row, though the browser shows the same grant.
#[tokio::test]
async fn a_row_with_a_pause_is_not_let_go() {
    let (world, _second) = two_processes();
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    let mut busy = answer(429, "");
    busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("3600"));
    world.op.answer_with(Endpoint::Refresh, busy);
    for _ in 0..2 {
        assert_eq!(world.tok(&alice).await.0, 503);
        world.clock.advance(Duration::from_secs(2));
    }
    world.app.layer.drain().await;
    world.op.honest();
    world.clock.advance(Duration::from_secs(11 * 60));
    world.app.layer.delete_expired().await.unwrap();
    assert_eq!((world.tok_at(REPLICA, &alice).await.0, world.op.refreshes().len()), (503, 1));
    world.clock.advance(HOUR);
    assert_eq!((world.tok_at(REPLICA, &alice).await.0, world.op.refreshes().len()), (200, 2));
}

/// Nor does one that is read while it is refreshed end sooner: the browser may be gone, and what came is only there.
#[tokio::test]
async fn a_row_that_is_refreshed_is_not_let_go() {
    let (world, second) = two_processes();
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let here = tokio::spawn(world.ask(APP, &alice, "/tok"));
    gate.wait_for_arrivals(1).await;
    let there = tokio::spawn(world.ask(REPLICA, &alice, "/tok"));
    super::settle().await;
    gate.open();
    for asked in [here, there] {
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
    for app in [&world.app, &second] {
        app.layer.drain().await;
    }
    world.clock.advance(Duration::from_secs(11 * 60));
    world.app.layer.delete_expired().await.unwrap();
    assert_eq!((world.tok(&alice).await.0, world.op.refreshes().len(), world.op.reuse_detected()), (200, 1, 0));
}
