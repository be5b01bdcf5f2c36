//! Several logins under way in one browser.

use std::time::Duration;

use tower_oidc::EventCode;

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

/// Together they have at most 7 KiB, and the addresses of their pages 4 KiB.
#[tokio::test]
async fn all_logins_under_way_fit_into_a_request() {
    for length in [100, 800, 1400] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let to = |at: usize| format!("/tab/{at:02}?{}", "a".repeat(length));
        let callbacks = start(&world, &browser, 12, to).await;
        let cookies = browser.cookies();
        let pending: Vec<_> = cookies.iter().filter(|cookie| cookie.name.starts_with(PENDING)).collect();
        let bytes: usize = pending.iter().map(|cookie| cookie.name.len() + cookie.value.len()).sum();
        assert!(bytes <= 7 * 1024, "{bytes} bytes of {length}");
        assert_eq!(pending.len(), 8, "{length}");
        let mut landed = Vec::new();
        for callback in callbacks.iter().rev() {
            let page = browser.navigate(callback).await;
            landed.push(if page.status == 400 { "refused".to_owned() } else { page.path_and_query().to_owned() });
            assert_eq!(who(&browser).await.as_deref(), Some("a1"));
        }
        let own = (0..12).rev().zip(&landed).filter(|(at, landed)| **landed == to(*at)).count();
        assert_eq!(own, 8.min(4096 / to(0).len()), "{length}: {landed:?}");
        assert!(landed[8..].iter().all(|landed| landed == "refused"), "{length}: the oldest");
    }
}

/// A browser that restores its tabs: all sign in, each on its own page where their addresses have room.
#[tokio::test]
async fn eight_restored_tabs_all_sign_in() {
    for world in [World::new(), World::stateless()] {
        for order in [[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0], [3, 0, 7, 1, 6, 2, 5, 4]] {
            for (length, own) in [(500, 8), (1000, 4)] {
                world.op.sign_in_as("alice");
                let browser = world.browser();
                let to = |at: usize| format!("/tab/{at}?{}", "a".repeat(length - 7));
                let told = world.app.events.count(EventCode::CookiesTooLarge);
                let callbacks = start(&world, &browser, 8, to).await;
                assert_eq!(world.app.events.count(EventCode::CookiesTooLarge) - told, 8 - own);
                let mut landed = 0;
                for at in order {
                    let page = browser.new_tab().navigate(&callbacks[at]).await;
                    let here = page.path_and_query();
                    assert!(here == to(at) || here == "/", "{at} of {length}: {here}");
                    landed += usize::from(here == to(at));
                    assert_eq!(who(&browser).await.as_deref(), Some("a1"));
                }
                assert_eq!(landed, own, "{length}");
            }
        }
    }
}

/// Whoever has signed in since in another tab goes on, whatever becomes of the tab that began before.
#[tokio::test]
async fn a_tab_that_is_too_late_goes_on_for_who_is_signed_in() {
    for world in [World::new(), World::stateless()] {
        world.op.sign_in_as("alice");
        let browser = world.browser();
        world.op.set(|settings| settings.deny = true);
        let late = callback_of(&browser.new_tab(), &login("/late")).await;
        world.op.set(|settings| settings.deny = false);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(browser.visit(&login("/tab")).await.path_and_query(), "/tab");
        assert_eq!(browser.navigate(&late).await.path_and_query(), "/late");
        assert_eq!(who(&browser).await.as_deref(), Some("a1"));
        // The control: whoever was signed in before learns that the new login went wrong.
        world.op.set(|settings| settings.deny = true);
        let again = callback_of(&browser.new_tab(), &login_with("/late", &[("max_age", "0")])).await;
        assert_eq!(browser.navigate(&again).await.status, 403);
    }
}

/// The longest address is given up, also of a login that began before.
#[tokio::test]
async fn the_longest_address_ends_at_home() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let lengths = [300, 1900, 1000, 900, 200];
    let to = |at: usize| format!("/tab/{at}?{}", "a".repeat(lengths[at] - 7));
    let callbacks = start(&world, &browser, lengths.len(), to).await;
    for (at, callback) in callbacks.iter().enumerate() {
        let page = browser.new_tab().navigate(callback).await;
        assert_eq!(page.path_and_query(), if at == 1 { "/".to_owned() } else { to(at) });
    }
    assert_eq!(world.app.events.count(EventCode::CookiesTooLarge), 1);
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
    assert!(pending(&browser).is_empty() || browser.cookies_for(APP).iter().all(|c| !c.name.starts_with(PENDING)));
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
