//! A provider signs people out whose browsers carry their sessions.

use std::time::Duration;

use serde_json::Value;
use tower_oidc::EventCode;
use tower_oidc::store::{MemoryStore, Store};

use super::{HOUR, REPLICA, session_cookie, settle, two_processes, with_claims};
use crate::support::app::{APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::provider::CLIENT_ID;
use crate::support::store::{Trouble, Verb, WatchedStore};

async fn who_at(world: &World, origin: &str, browser: &Browser) -> Value {
    let answer = world.ask(origin, browser, "/who").await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    serde_json::from_slice::<Value>(answer.body()).unwrap()["sub"].clone()
}

async fn status(world: &World, token: &str) -> u16 {
    world.back_channel(token).await.status().as_u16()
}

/// A token for one of a user's sessions at the provider, or for all.
fn token(world: &World, user: &str, sid: Option<&str>) -> String {
    world.op.logout_token(CLIENT_ID, user, sid, |_| ())
}

/// In one process, which remembers for itself.
#[tokio::test]
async fn the_provider_signs_out_a_browser_that_carries_its_session() {
    let world = World::stateless();
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let copied = with_claims(&session_cookie(&alice), &alice);
    let told = world.logout_token("alice");
    let nonce = world.op.logout_token(CLIENT_ID, "alice", None, |jwt| jwt.claim("nonce", "n"));
    assert_eq!((status(&world, &nonce).await, world.who(&alice).await), (400, "a1".into()));
    assert_eq!(status(&world, &told).await, 200);
    assert_eq!((world.who(&alice).await, world.who(&bob).await), (Value::Null, "b1".into()));
    assert_eq!(alice.fetch(http::Method::GET, &format!("{APP}/tok"), "", APP).await.status, 401);
    assert_eq!(world.app.events.count(EventCode::LoggedOut), 1);
    assert_eq!(status(&world, &told).await, 400, "a replay");
    // For as long as it could be shown.
    for _ in 0..6 {
        world.clock.advance(4 * HOUR);
        assert_eq!(world.who(&bob).await, "b1");
        assert_eq!(world.who_is(&copied).await, Value::Null);
    }
    world.sign_in(&alice, "alice").await;
    assert_eq!(world.who(&alice).await, "a1");
}

/// Told to one process, and at the other at that moment. No clock moves.
#[tokio::test]
async fn signed_out_at_every_process_that_meets_there() {
    let (world, _second) = two_processes();
    let browsers = [world.signed_in("alice").await, world.signed_in("alice").await, world.signed_in("alice").await];
    let bob = world.signed_in("bob").await;
    let sids = world.op.sids_of("alice");
    let who = async |origin: &str| {
        let [a, b, c] = &browsers;
        [who_at(&world, origin, a).await, who_at(&world, origin, b).await, who_at(&world, origin, c).await]
            .map(|who| !who.is_null())
    };
    assert_eq!((who(APP).await, who(REPLICA).await), ([true; 3], [true; 3]));
    // what does not fit wholly ends nothing.
    let his = world.op.sids_of("bob").pop().unwrap();
    world.op.user("carol", |_| ());
    for (user, sid) in [("carol", Some(&*sids[0])), ("alice", Some(&*his)), ("carol", None)] {
        assert_eq!(status(&world, &token(&world, user, sid)).await, 200);
    }
    settle().await;
    assert_eq!((who(APP).await, who(REPLICA).await), ([true; 3], [true; 3]));
    let sid_alone = world.op.logout_token(CLIENT_ID, "alice", Some(&sids[0]), |jwt| jwt.without("sub"));
    for (token, left) in [
        (sid_alone, [false, true, true]),
        (token(&world, "alice", Some(&sids[1])), [false, false, true]),
        (token(&world, "alice", None), [false; 3]),
    ] {
        assert_eq!(status(&world, &token).await, 200);
        settle().await;
        assert_eq!((who(REPLICA).await, who(APP).await), (left, left));
        assert_eq!(who_at(&world, REPLICA, &bob).await, "b1");
    }
}

/// What another process was told of and this one does not hear is found out within `max_staleness`.
#[tokio::test]
async fn a_process_that_hears_nothing_finds_out() {
    let (world, _) = two_processes();
    let meeting = MemoryStore::new();
    let deaf = WatchedStore::new(meeting.clone());
    deaf.trouble(Verb::Listen, Trouble::Hang);
    let start =
        |store: WatchedStore| App::stateless_at(&world.net, &world.clock, store, meeting.clone(), |config| config);
    let (one, two) = (start(WatchedStore::new(meeting.clone())), start(deaf));
    world.net.serve_service(APP, one.layer.layer(routes()));
    world.net.serve_service(REPLICA, two.layer.layer(routes()));
    let alice = world.signed_in("alice").await;
    assert_eq!(who_at(&world, REPLICA, &alice).await, "a1");
    assert_eq!(status(&world, &world.logout_token("alice")).await, 200);
    settle().await;
    assert_eq!(who_at(&world, REPLICA, &alice).await, "a1");
    world.clock.advance(Duration::from_millis(2001));
    assert_eq!(who_at(&world, REPLICA, &alice).await, Value::Null);
}

/// What a process was told itself it needs not hear; and one that is started later finds it for as long as a copied
/// cookie could be shown.
#[tokio::test]
async fn a_process_that_is_started_later_knows_it_too() {
    let world = World::new();
    let meeting = MemoryStore::new();
    let deaf = WatchedStore::new(meeting.clone());
    deaf.trouble(Verb::Listen, Trouble::Hang);
    let start = |store: WatchedStore| {
        let app = App::stateless_at(&world.net, &world.clock, store, meeting.clone(), |config| config);
        world.net.serve_service(APP, app.layer.layer(routes()));
        app
    };
    start(deaf);
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let copied = [&alice, &bob].map(|one| with_claims(&session_cookie(one), one));
    assert_eq!(status(&world, &world.logout_token("alice")).await, 200);
    assert_eq!(world.who(&alice).await, Value::Null);
    world.clock.advance(23 * HOUR);
    let later = start(WatchedStore::new(meeting.clone()));
    later.layer.delete_expired().await.unwrap();
    assert_eq!((world.who_is(&copied[0]).await, world.who_is(&copied[1]).await), (Value::Null, "b1".into()));
}

/// An older token, or an older note, ends no later login; and a newer token ends that too.
#[tokio::test]
async fn a_login_after_the_token_survives_it() {
    let (world, _second) = two_processes();
    let before = world.signed_in("alice").await;
    let (early, again) = (token(&world, "alice", None), token(&world, "alice", None));
    // Later than any leeway.
    world.clock.advance(Duration::from_secs(6));
    let after = world.signed_in("alice").await;
    for token in [&early, &again] {
        assert_eq!(status(&world, token).await, 200);
        settle().await;
        for origin in [APP, REPLICA] {
            let who = (who_at(&world, origin, &before).await, who_at(&world, origin, &after).await);
            assert_eq!(who, (Value::Null, "a1".into()), "{origin}");
        }
    }
    let late = token(&world, "alice", None);
    assert_eq!(status(&world, &late).await, 200);
    settle().await;
    assert_eq!(who_at(&world, REPLICA, &after).await, Value::Null);
    // An older one that comes last takes nothing back.
    let mut older = None;
    world.clock.rewind(Duration::from_secs(1));
    older.replace(token(&world, "alice", None));
    world.clock.advance(Duration::from_secs(4));
    assert_eq!(status(&world, &older.unwrap()).await, 200);
    assert_eq!(who_at(&world, APP, &after).await, Value::Null);
}

/// Where they meet is away.
#[tokio::test]
async fn a_rendezvous_that_fails() {
    let world = World::new();
    let meeting = WatchedStore::new(MemoryStore::new());
    let app = App::stateless_at(&world.net, &world.clock, meeting.clone(), meeting.rows.clone(), |config| config);
    world.net.serve_service(APP, app.layer.layer(routes()));
    let alice = world.signed_in("alice").await;
    let told = world.logout_token("alice");
    meeting.trouble(Verb::Swap, Trouble::Fail);
    assert_eq!(status(&world, &told).await, 503);
    meeting.heal();
    assert_eq!(world.who(&alice).await, "a1");
    assert_eq!(status(&world, &told).await, 200);
    meeting.trouble(Verb::Load, Trouble::Fail);
    assert_eq!(
        alice.navigate(&format!("{APP}/who")).await.status,
        503,
        "something was heard, and what it was cannot be known"
    );
    meeting.heal();
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// A login that was under way when its provider ended it: the browser carries a session that never counts.
#[tokio::test]
async fn a_login_that_was_under_way_is_over() {
    let world = World::stateless();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let gate = Gate::new();
    world.net.fault(crate::support::app::OP, "/token", Fault::GateAnswer(gate.clone()));
    let login = tokio::spawn({
        let tab = browser.new_tab();
        async move { tab.visit(&format!("{APP}/auth/login?return_to=/who")).await }
    });
    gate.wait_for_arrivals(1).await;
    assert_eq!(status(&world, &world.logout_token("alice")).await, 200);
    gate.open();
    assert_eq!(login.await.unwrap().text(), "null");
    assert_eq!(world.who(&browser).await, Value::Null);
}

/// Its rows are named anew from then on, and who was known before is signed out by the new names.
#[tokio::test]
async fn a_rendezvous_that_comes_back_empty_is_heard_all_the_same() {
    let world = World::new();
    let meeting = WatchedStore::new(MemoryStore::new());
    let start = || App::stateless_at(&world.net, &world.clock, meeting.clone(), MemoryStore::new(), |config| config);
    let serve = |app: &App| world.net.serve_service(APP, app.layer.clone().layer(routes()));
    let first = start();
    serve(&first);
    let alice = world.signed_in("alice").await;
    assert_eq!(world.who(&alice).await, "a1");
    for (key, _) in meeting.dump().await {
        meeting.delete(key, None).await.unwrap();
    }
    serve(&start());
    let bob = world.signed_in("bob").await;
    serve(&first);
    // A login is when it looks how rows are named.
    world.sign_in(&world.browser(), "bob").await;
    world.clock.advance(Duration::from_secs(3));
    assert_eq!((world.who(&alice).await, world.who(&bob).await), ("a1".into(), "b1".into()));
    assert_eq!(status(&world, &world.logout_token("alice")).await, 200);
    world.clock.advance(Duration::from_secs(3));
    assert_eq!((world.who(&alice).await, world.who(&bob).await), (Value::Null, "b1".into()));
}
