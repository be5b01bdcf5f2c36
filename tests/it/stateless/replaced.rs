//! A copy of former cookies: what a newer consent replaced, or its person took back, never counts again.

use std::time::Duration;

use http::Method;

use super::{HOUR, two_processes};
use crate::support::app::{APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::html::Form;

const CONNECT: &str = "https://app.test/auth/connect?connection=login&return_to=/who";
const DISCONNECT: &str = "https://app.test/auth/disconnect?connection=login&return_to=/who";

/// Long after what lies where processes meet is kept for late requests.
async fn settle(world: &World, browser: &Browser) {
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(14 * 60));
        assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
        world.app.layer.drain().await;
        world.app.layer.delete_expired().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_of_former_cookies_never_brings_the_former_grant_back() {
    for disconnects in [false, true] {
        let (world, _second) = two_processes();
        let alice = world.signed_in("alice").await;
        assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200);
        let copied = alice.clone_jar();
        let former = world.token_of(&alice, "alice").await;
        world.clock.advance(Duration::from_secs(5));
        if disconnects {
            alice.submit_from(APP, &Form::post(DISCONNECT, &[])).await;
        }
        let page = alice.visit(CONNECT).await;
        assert_eq!(page.status, 200, "{}", page.text());
        settle(&world, &alice).await;
        let current = world.token_of(&alice, "alice").await;
        assert_ne!(former, current);
        let copy = world.browser();
        copy.replace_jar(copied);
        let (status, said) = world.tok(&copy).await;
        assert!(status == 403 || said == current, "disconnected: {disconnects}: {status} {said}");
        assert_ne!(said, former, "disconnected: {disconnects}");
        // Nor is its refresh token spent.
        world.clock.advance(HOUR);
        world.tok(&copy).await;
        world.token_of(&alice, "alice").await;
        assert_eq!(world.op.reuse_detected(), 0, "disconnected: {disconnects}");
    }
}

/// The browser that took its grant back shows nothing any more, to a process without a memory of it either.
#[tokio::test]
async fn a_disconnect_reaches_the_browser() {
    let world = World::stateless();
    for disconnects in [true, false] {
        let alice = world.signed_in("alice").await;
        if disconnects {
            alice.submit_from(APP, &Form::post(DISCONNECT, &[])).await;
        }
        let restarted = App::stateless(&world.net, &world.clock, |config| config);
        world.net.serve_service(APP, restarted.layer.layer(routes()));
        assert_eq!(world.tok(&alice).await.0, if disconnects { 403 } else { 200 });
        assert_eq!(world.who(&alice).await, "a1");
    }
}

/// What was taken back is noted for as long as a copy of the cookies could be shown, though the browser knows of it.
#[tokio::test]
async fn a_copy_of_the_cookies_never_brings_back_what_was_taken_back() {
    for disconnects in [true, false] {
        let (world, _second) = two_processes();
        let alice = world.signed_in("alice").await;
        let copied = alice.clone_jar();
        if disconnects {
            alice.submit_from(APP, &Form::post(DISCONNECT, &[])).await;
        }
        let status = if disconnects { 403 } else { 200 };
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(14 * 60));
            let answer = alice.fetch(Method::GET, &format!("{APP}/tok"), "", APP).await;
            assert_eq!(answer.status, status);
            world.app.layer.drain().await;
            world.app.layer.delete_expired().await.unwrap();
        }
        let copy = world.browser();
        copy.replace_jar(copied);
        assert_eq!(world.tok(&copy).await.0, status);
        assert_eq!(alice.visit(CONNECT).await.status, 200, "and can be granted again");
        assert_eq!(world.tok(&alice).await.0, 200);
    }
}
