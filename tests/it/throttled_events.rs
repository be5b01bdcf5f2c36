//! What strangers or an outage can cause at will fills no log, and nothing of it is lost from the count.

use std::time::Duration;

use tower_oidc::EventCode;

use crate::support::app::{APP, SESSION, World, session_of};
use crate::support::browser::Browser;
use crate::support::store::{Trouble, Verb};

/// What was reported, and what is said to have been left out.
fn told(events: &crate::support::app::Events, code: EventCode) -> (usize, u64) {
    let events: Vec<_> = events.all().into_iter().filter(|event| event.code == code).collect();
    (events.len(), events.iter().map(|event| event.suppressed).sum())
}

async fn fetch(world: &World, browser: &Browser) -> u16 {
    world.ask(APP, browser, "/who").await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_outage_of_the_store_is_told_of_twenty_times_in_ten_seconds() {
    let world = World::new();
    let (watched, app) = world.watched_with(|mut config| {
        config.max_staleness = Duration::ZERO;
        config
    });
    let alice = world.signed_in("alice").await;
    watched.trouble(Verb::Load, Trouble::Fail);
    for _ in 0..100 {
        assert_eq!(fetch(&world, &alice).await, 503);
    }
    assert_eq!(told(&app.events, EventCode::StoreFailed), (20, 0));
    world.clock.advance(Duration::from_secs(10));
    fetch(&world, &alice).await;
    assert_eq!(told(&app.events, EventCode::StoreFailed), (21, 80));
    // The control: what nobody causes at will is all there.
    watched.heal();
    for _ in 0..30 {
        world.sign_in(&world.browser(), "alice").await;
    }
    assert_eq!(told(&app.events, EventCode::LoginSucceeded), (31, 0));
}

#[tokio::test]
async fn cookies_that_were_tampered_with_are_told_of_twenty_times_in_ten_seconds() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let session = session_of(&alice);
    let cookie = |at: usize| {
        let mut bytes = session.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        format!("{SESSION}={}", String::from_utf8(bytes).unwrap())
    };
    let middle = session.len() / 2;
    for _ in 0..50 {
        world.with_cookie("/who", cookie(middle).as_bytes()).await;
    }
    assert_eq!(told(&world.app.events, EventCode::Tampered), (20, 0));
    world.clock.advance(Duration::from_secs(10));
    world.with_cookie("/who", cookie(middle).as_bytes()).await;
    assert_eq!(told(&world.app.events, EventCode::Tampered), (21, 30));
}
