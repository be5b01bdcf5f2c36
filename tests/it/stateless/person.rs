//! Who is signed in, by a cookie that holds it.

use std::time::Duration;

use axum::routing::get;
use serde_json::Value;
use tower_oidc::CurrentUser;
use tower_oidc::store::MemoryStore;

use super::{REPLICA, cookies_of, session_cookie, two_processes, with_claims};
use crate::support::app::{APP, App, World, logout_link, routes};
use crate::support::random::assert_absent;

#[tokio::test]
async fn a_person_is_signed_in_by_what_the_browser_carries_alone() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let about = alice.navigate(&format!("{APP}/who")).await.json();
    assert_eq!(
        (&about["sub"], &about["email"], &about["email_verified"], &about["name"]),
        (&"a1".into(), &"alice@example.com".into(), &Value::Bool(true), &"Alice".into())
    );
    // Another process with the same secret has never heard of her, and needs nothing but the cookies.
    let restarted = App::stateless(&world.net, &world.clock, |config| config);
    world.net.serve_service(APP, restarted.layer.layer(routes()));
    assert_eq!(world.who(&alice).await, "a1");
    assert_eq!(world.tok(&alice).await.0, 200);
    // And one with another secret knows nobody.
    let stranger = App::stateless(&world.net, &world.clock, |mut config| {
        config.session_secrets = vec!["another sealing secret, 32 bytes and more".into()];
        config
    });
    world.net.serve_service(APP, stranger.layer.layer(routes()));
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// What the cookies are, and that nobody reads a token out of them.
#[tokio::test]
async fn cookies_are_the_browsers_own_and_show_nothing() {
    let world = World::stateless();
    world.op.user("alice", |user| user.sub = "subject-of-alice".into());
    let alice = world.signed_in("alice").await;
    let token = world.token_of(&alice, "alice").await;
    let ours = cookies_of(&alice, "");
    assert_eq!(ours.len(), 3, "session, claims, grant: {ours:?}");
    for cookie in ours {
        assert!(cookie.http_only && cookie.secure && cookie.host_only && cookie.path == "/", "{cookie:?}");
        assert!(cookie.name.starts_with("__Host-"), "{cookie:?}");
        assert_absent(&token, &cookie.value, &cookie.name);
        assert_absent("subject-of-alice", &cookie.value, &cookie.name);
    }
}

/// Per process, a session that was ended stays so.
#[tokio::test]
async fn a_session_that_ended_cannot_be_replayed() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let stolen = alice.clone_jar();
    let link = logout_link(&alice, "/bye").await;
    let page = alice.navigate(&link).await;
    assert_eq!(page.url.as_str(), format!("{APP}/bye"));
    assert!(page.chain.iter().any(|hop| hop.url.as_str().contains("id_token_hint=")), "{:?}", page.chain);
    assert_eq!(
        cookies_of(&alice, "session").len() + cookies_of(&alice, "claims").len() + cookies_of(&alice, "grant").len(),
        0
    );
    assert_eq!(world.who(&alice).await, Value::Null);
    alice.replace_jar(stolen);
    assert_eq!(world.who(&alice).await, Value::Null, "the old cookies");
    assert_eq!(world.tok(&alice).await.0, 401);
}

#[tokio::test]
async fn where_processes_meet_a_logout_reaches_the_other() {
    let (world, _second) = two_processes();
    let alice = world.signed_in("alice").await;
    let stolen = alice.clone_jar();
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 200, "known there");
    let link = logout_link(&alice, "/bye").await;
    alice.navigate(&link).await;
    alice.replace_jar(stolen);
    assert_eq!(world.tok(&alice).await.0, 401);
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 401, "after the staleness");
}

/// In this mode: the idle lifetime is the cookie's, which is sealed anew as it is used up.
#[tokio::test]
async fn a_session_lasts_as_long_as_it_is_used() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let first = session_cookie(&alice);
    world.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(world.who(&alice).await, "a1");
    assert_eq!(session_cookie(&alice), first, "an ordinary request sets nothing");
    for _ in 0..12 {
        world.clock.advance(Duration::from_secs(12 * 3600));
        assert_eq!(world.who(&alice).await, "a1");
        assert_ne!(session_cookie(&alice), first);
    }
    // The first cookie is over, whoever kept it.
    assert_eq!(world.who_is(&with_claims(&first, &alice)).await, Value::Null);
    assert_ne!(world.who_is(&with_claims(&session_cookie(&alice), &alice)).await, Value::Null);
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(world.who(&alice).await, Value::Null, "seven days, or a day without a request");
}

/// While secrets rotate, a browser may be at one process for longer than the idle lifetime, and then at the other again.
#[tokio::test]
async fn a_long_rollout_of_secrets_signs_nobody_out() {
    let world = World::new();
    let meeting = MemoryStore::new();
    let start = |secrets: [&str; 2]| {
        App::stateless_at(&world.net, &world.clock, meeting.clone(), meeting.clone(), |mut config| {
            config.session_secrets = secrets.map(Into::into).to_vec();
            config
        })
    };
    let (new, old) = ("the new secret, of 32 bytes and more", "the old secret, of 32 bytes and more");
    let (first, second) = (start([new, old]), start([old, new]));
    let serve = |app: &App| world.net.serve_service(APP, app.layer.clone().layer(routes()));
    serve(&first);
    let alice = world.signed_in("alice").await;
    assert_eq!(world.who(&alice).await, "a1");
    serve(&second);
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(12 * 3600));
        assert_eq!(world.who(&alice).await, "a1");
    }
    serve(&first);
    assert_eq!(world.who(&alice).await, "a1");
}

/// In this mode.
#[tokio::test]
async fn a_callback_is_good_once() {
    let world = World::stateless();
    let alice = world.browser();
    world.op.sign_in_as("alice");
    let page = alice.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    let callback = page.chain.iter().find(|hop| hop.url.path() == "/auth/callback").unwrap().url.to_string();
    let exchanges = world.op.token_requests().len();
    let again = alice.navigate(&callback).await;
    assert!(again.status.as_u16() < 500);
    assert_eq!(world.op.token_requests().len(), exchanges);
}

/// A login over another: nothing of the first person is left in the browser.
#[tokio::test]
async fn the_next_person_in_a_browser_begins_anew() {
    let world = World::stateless();
    let browser = world.signed_in("alice").await;
    let alices = browser.clone_jar();
    world.sign_in(&browser, "bob").await;
    assert_eq!(cookies_of(&browser, "").len(), 3, "{:?}", browser.cookies());
    assert_eq!(world.who(&browser).await, "b1");
    world.token_of(&browser, "bob").await;
    browser.replace_jar(alices);
    assert_eq!(world.who(&browser).await, Value::Null, "the session that was replaced ended");
}

/// The provider signs people out, though nobody here knows who is signed in.
#[tokio::test]
async fn the_provider_signs_out_who_carries_a_session() {
    let (world, _second) = two_processes();
    for world in [World::stateless(), world] {
        let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
        let token = world.logout_token("alice");
        assert_eq!(world.back_channel(&token).await.status(), 200);
        world.clock.advance(Duration::from_secs(3));
        assert_eq!(world.who(&alice).await, Value::Null);
        assert_eq!(world.who(&bob).await, "b1");
        assert_eq!(world.back_channel(&token).await.status(), 400, "twice");
        // Whoever signs in again is signed in.
        world.clock.advance(Duration::from_secs(60));
        world.sign_in(&alice, "alice").await;
        assert_eq!(world.who(&alice).await, "a1");
    }
}

#[tokio::test]
async fn where_processes_meet_the_provider_signs_out_at_the_other_too() {
    let (world, _second) = two_processes();
    let alice = world.signed_in("alice").await;
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 200);
    world.back_channel(&world.logout_token("alice")).await;
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.tok_at(REPLICA, &alice).await.0, 401);
}

/// In this mode: a new secret seals anew what an old one opens, and then the old one may go.
#[tokio::test]
async fn secrets_rotate_under_what_browsers_carry() {
    let world = World::stateless();
    let (old, new) = ("a sealing secret of the tests, 32 bytes+", "a newer secret of the tests, 32 bytes +");
    let start = |secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|secret| (*secret).into()).collect();
        let app = App::stateless(&world.net, &world.clock, |mut config| {
            config.session_secrets = secrets;
            config
        });
        world.net.serve_service(APP, app.layer.layer(routes()));
    };
    let alice = world.signed_in("alice").await;
    start(&[new, old]);
    // She opens a page, and asks for no token.
    assert_eq!(world.who(&alice).await, "a1");
    start(&[new]);
    assert_eq!(world.who(&alice).await, "a1");
    assert_eq!(alice.navigate(&format!("{APP}/who")).await.json()["name"], "Alice", "the claims");
    world.token_of(&alice, "alice").await;
    start(&[old]);
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// What is shown of a person after their session began to be remembered changes nothing of what it takes: the memory of
/// sessions subtracts what it added.
#[tokio::test]
async fn claims_that_a_browser_shows_later_weigh_nothing() {
    let world = World::stateless();
    world.serve(
        routes().route("/picture", get(|user: CurrentUser| async move { user.picture().is_some().to_string() })),
    );
    for _ in 0..3 {
        let alice = world.signed_in("alice").await;
        assert_eq!(alice.navigate(&format!("{APP}/picture")).await.text(), "false");
        // It is over, and forgotten at the next login.
        world.clock.advance(Duration::from_secs(8 * 24 * 60 * 60));
        world.signed_in("bob").await;
        world.app.layer.drain().await;
        assert_eq!(world.who(&alice).await, Value::Null);
    }
}
