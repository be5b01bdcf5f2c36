//! One refresh for one grant and one expiry, though the grant lies in the browser.

use std::time::Duration;

use tower_oidc::store::MemoryStore;

use super::{HOUR, REPLICA, cookies_of, two_processes};
use crate::support::app::{API, APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::html::Form;
use crate::support::store::{Trouble, Verb, WatchedStore};

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

/// Scenario 52 in this mode: fifty requests with one cookie, and one refresh.
#[tokio::test]
async fn scenario_52_parallel_requests_share_one_refresh() {
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
        alice.set_cookie(
            APP,
            &format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=9999"),
        );
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

/// Whether there is a newer grant is asked for as often as whether the session has ended, and not for each token.
#[tokio::test]
async fn the_rendezvous_is_asked_once_in_a_while() {
    let world = World::new();
    let meeting = WatchedStore::new(MemoryStore::new());
    let app =
        App::stateless_at(&world.net, &world.clock, meeting.clone(), meeting.rows.clone(), |config| config);
    world.net.serve_service(APP, app.layer.layer(routes()));
    let alice = world.signed_in("alice").await;
    let first = tok(&alice).await;
    let asked = async || {
        let before = meeting.loads();
        for _ in 0..20 {
            assert_eq!(tok(&alice).await, first);
        }
        meeting.loads() - before
    };
    assert_eq!(asked().await, 0);
    world.clock.advance(Duration::from_millis(2001));
    let once = asked().await;
    assert_eq!(once, 4, "the session, what ends it, and the grant");
    // With nothing to ask, what is known serves; afterwards it is not believed any more.
    meeting.break_down(&Trouble::Fail);
    assert_eq!(tok(&alice).await, first);
    world.clock.advance(Duration::from_millis(2001));
    assert_eq!(world.tok(&alice).await.0, 503);
    meeting.heal();
    assert_eq!(tok(&alice).await, first);
}

/// A token that its API refused is not served to who comes late with it, though it says of itself that it is fresh.
#[tokio::test]
async fn a_late_cookie_finds_what_was_refreshed_early() {
    for world in [World::stateless(), two_processes().0] {
        let alice = world.signed_in("alice").await;
        let (first, late) = (tok(&alice).await, alice.clone_jar());
        world.api.refuse("/cal/", 1, "Bearer");
        let fetched = alice.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await;
        assert_eq!((fetched.status.as_u16(), world.op.refreshes().len()), (200, 1));
        // Others have shown what came, twice: it is known.
        let second = tok(&alice).await;
        assert_eq!(tok(&alice).await, second);
        alice.replace_jar(late);
        assert_ne!(first, second);
        assert_eq!(tok(&alice).await, second);
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    }
}

/// What a person took back serves nobody who has kept the cookies: at once where it was taken back and where that is
/// heard, and after `max_staleness` at the latest.
#[tokio::test]
async fn what_was_taken_back_counts_no_more_where_it_was_known() {
    for deaf in [false, true] {
        let world = World::new();
        let meeting = MemoryStore::new();
        let hears = WatchedStore::new(meeting.clone());
        if deaf {
            hears.trouble(Verb::Listen, Trouble::Hang);
        }
        let start = |store: WatchedStore| {
            App::stateless_at(&world.net, &world.clock, store, meeting.clone(), |config| config)
        };
        let (one, two) = (start(hears.clone()), start(hears));
        world.net.serve_service(APP, one.layer.layer(routes()));
        world.net.serve_service(REPLICA, two.layer.layer(routes()));
        let alice = world.signed_in("alice").await;
        let kept = alice.clone_jar();
        for origin in [APP, REPLICA] {
            assert_eq!(world.tok_at(origin, &alice).await.0, 200);
        }
        let form = Form::post(&format!("{APP}/auth/disconnect?connection=login&return_to=/who"), &[]);
        assert_eq!(alice.submit(&form).await.url.as_str(), format!("{APP}/who"));
        alice.replace_jar(kept);
        assert_eq!(world.tok(&alice).await.0, 403, "here");
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.tok_at(REPLICA, &alice).await.0, if deaf { 200 } else { 403 }, "there");
        world.clock.advance(Duration::from_millis(2001));
        assert_eq!(world.tok_at(REPLICA, &alice).await.0, 403, "there, later");
    }
}
