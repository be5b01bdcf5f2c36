//! Several logins under way in one browser.

use std::time::Duration;

use super::{PENDING, callback_of, login, login_with, pending, who};
use crate::support::app::{APP, World};
use crate::support::browser::Browser;

/// Starts a login in each of `n` tabs, a second apart.
async fn start(world: &World, browser: &Browser, n: usize, to: impl Fn(usize) -> String) -> Vec<String> {
    let mut callbacks = Vec::new();
    for at in 0..n {
        world.clock.advance(Duration::from_secs(1));
        callbacks.push(callback_of(&browser.new_tab(), &login(&to(at))).await);
    }
    callbacks
}

#[tokio::test]
async fn tabs_finish_in_any_order() {
    for order in [
        vec![0, 1],
        vec![1, 0],
        vec![0, 1, 2, 3, 4, 5, 6, 7],
        vec![7, 6, 5, 4, 3, 2, 1, 0],
        vec![3, 0, 7, 1, 6, 2, 5, 4],
        vec![4, 7, 0, 2, 6, 1, 3, 5],
    ] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let callbacks = start(&world, &browser, order.len(), |at| format!("/tab/{at}?x=1%26{at}")).await;
        for (done, at) in order.iter().enumerate() {
            assert_eq!(pending(&browser).len(), order.len() - done);
            let page = browser.new_tab().navigate(&callbacks[*at]).await;
            assert_eq!(page.path_and_query(), format!("/tab/{at}?x=1%26{at}"), "{order:?}");
            assert_eq!(who(&browser).await.as_deref(), Some("a1"));
        }
        assert_eq!(world.op.code_exchanges().len(), order.len());
    }
}

#[tokio::test]
async fn the_ninth_login_takes_the_place_of_the_oldest() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callbacks = start(&world, &browser, 9, |at| format!("/tab/{at}")).await;
    assert_eq!(pending(&browser).len(), 8);
    for at in [8, 1, 2, 3, 4, 5, 6, 7] {
        let page = browser.new_tab().navigate(&callbacks[at]).await;
        assert_eq!(page.path_and_query(), format!("/tab/{at}"));
    }
    assert_eq!(browser.navigate(&callbacks[0]).await.status, 400);
}

/// Together they have at most 6 KiB, and the newest is always among them.
#[tokio::test]
async fn all_logins_under_way_fit_into_a_request() {
    for (length, kept) in [(100, 8..=8), (800, 3..=5), (1400, 2..=3)] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let callbacks = start(&world, &browser, 12, |at| format!("/tab/{at}?{}", "a".repeat(length))).await;
        let cookies = browser.cookies();
        let pending: Vec<_> = cookies.iter().filter(|cookie| cookie.name.starts_with(PENDING)).collect();
        let bytes: usize = pending.iter().map(|cookie| cookie.name.len() + cookie.value.len()).sum();
        assert!(bytes <= 6 * 1024, "{bytes} bytes of {length}");
        assert!(kept.contains(&pending.len()), "{} of {length}", pending.len());
        for (at, callback) in callbacks.iter().enumerate().rev() {
            let page = browser.navigate(callback).await;
            if 12 - at <= pending.len() {
                assert!(page.path_and_query().starts_with(&format!("/tab/{at}?")), "{at} of {length}");
            } else {
                assert_eq!(page.status, 400, "{at} of {length}");
            }
        }
    }
}

/// What does not open goes with the next login, and what is over makes room; cookies of others stay.
#[tokio::test]
async fn what_is_of_no_use_is_cleared_away() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    start(&world, &browser, 8, |at| format!("/tab/{at}")).await;
    world.clock.advance(Duration::from_secs(11 * 60));
    for junk in ["AAAAAAAA=", "BBBBBBBB=garbage", "CCCCCCCC=AAAA"] {
        browser.set_cookie(APP, &format!("{PENDING}{junk}; Secure; Path=/"));
    }
    browser.set_cookie(APP, "__Host-tower-oidc-else=1; Secure; Path=/");
    assert_eq!(pending(&browser).len(), 11);
    let callback = callback_of(&browser, &login("/who")).await;
    assert_eq!(pending(&browser).len(), 8, "seven that are over and the new one");
    assert!(browser.cookie("__Host-tower-oidc-else").is_some());
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
    world.clock.advance(Duration::from_secs(10 * 60));
    assert!(
        pending(&browser).is_empty() || browser.cookies_for(APP).iter().all(|c| !c.name.starts_with(PENDING))
    );
}

/// Eight short logins and then the longest: all that must go, goes, and the answer still fits.
#[tokio::test]
async fn a_long_login_makes_room_among_short_ones() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    start(&world, &browser, 8, |at| format!("/tab/{at}?{}", "a".repeat(150))).await;
    world.clock.advance(Duration::from_secs(1));
    let to = format!("/{}", "a".repeat(2047));
    let page = browser.visit(&login_with(&to, &[("acr_values", &"a".repeat(256))])).await;
    assert_eq!(page.path_and_query(), to);
}
