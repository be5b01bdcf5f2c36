//! Users and their own sessions.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tower_oidc::store::Record;
use tower_oidc::{Api, EventCode, Timestamp};

use super::{TWO, act, id, listed, with_sessions, worlds};
use crate::support::app::{APP, SESSION, World, session_of};
use crate::support::store::{Trouble, WatchedStore};

const HOUR: Duration = Duration::from_secs(3600);

fn millis(world: &World) -> Value {
    json!(Timestamp::from_millis(world.clock.millis()))
}

#[tokio::test]
async fn a_user_sees_their_sessions() {
    for world in worlds(|config| config) {
        let began = millis(&world);
        let first = world.signed_in("alice").await;
        world.clock.advance(HOUR);
        let (second, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
        let second_began = millis(&world);
        let [newer, older] = &listed(&second).await[..] else { panic!("two") };
        for (session, created_at, current) in [(newer, &second_began, true), (older, &began, false)] {
            assert_eq!((&session["created_at"], &session["current"]), (created_at, &json!(current)));
            assert_eq!(session["last_seen_at"], *created_at);
            assert_eq!(session["user_agent"], "Chrome on Linux");
            assert_eq!(session["provider"], "default");
            assert_eq!(session.as_object().unwrap().len(), 6, "{session}");
            assert_eq!(id(session).len(), 22);
            assert!(!session_of(&first).contains(&id(session)) && !session_of(&second).contains(&id(session)));
        }
        assert_ne!(id(newer), id(older));
        let ids: Vec<_> = listed(&first).await.iter().map(id).collect();
        assert_eq!(ids, [id(newer), id(older)], "the same from everywhere, and at any time");
        assert_eq!(listed(&bob).await.len(), 1);
    }
}

/// An eighth of the idle lifetime is three hours: then the session is written anyway.
#[tokio::test]
async fn the_last_use_is_as_old_as_what_is_written_anyway() {
    let world = World::new();
    let (first, began) = (world.signed_in("alice").await, millis(&world));
    let (store, watched) = world.watched();
    world.net.serve_service(APP, watched.layer.layer(with_sessions()));
    world.clock.advance(2 * HOUR);
    let before = store.writes();
    assert_eq!(listed(&first).await[0]["last_seen_at"], began);
    assert_eq!(store.writes(), before, "to look writes nothing");
    world.clock.advance(2 * HOUR);
    assert_eq!(world.who(&first).await, "a1");
    watched.layer.drain().await;
    assert_eq!(listed(&first).await[0]["last_seen_at"], millis(&world));
}

#[tokio::test]
async fn a_user_ends_one_of_them() {
    for world in worlds(|config| config) {
        let (first, second) = (world.signed_in("alice").await, world.signed_in("alice").await);
        let other = listed(&second).await.into_iter().find(|session| session["current"] == false).unwrap();
        let page = act(&second, &format!("end/{}", id(&other))).await;
        assert_eq!((page.text().as_str(), page.header("set-cookie")), ("true", None));
        assert_eq!((world.who(&first).await, world.who(&second).await), (Value::Null, json!("a1")));
        assert_eq!(act(&second, &format!("end/{}", id(&other))).await.text(), "false", "it has ended");
        assert_eq!(world.app.events.count(EventCode::LoggedOut), 1);
        // Their own: its answer takes the cookie away.
        let own = id(&listed(&second).await[0]);
        assert_eq!(act(&second, &format!("end/{own}")).await.text(), "true");
        assert!(second.cookie(SESSION).is_none());
        let nobody = world.browser().fetch(Method::GET, &format!("{APP}/sessions"), "", APP).await;
        assert_eq!(nobody.status, 401);
    }
}

#[tokio::test]
async fn others_or_all_end_at_once() {
    for world in worlds(|config| config) {
        let bob = world.signed_in("bob").await;
        let mut browsers = Vec::new();
        for _ in 0..4 {
            browsers.push(world.signed_in("alice").await);
        }
        let session = session_of(&browsers[0]);
        assert_eq!(act(&browsers[0], "end-others").await.text(), "3");
        let mut left = Vec::new();
        for browser in &browsers {
            left.push(world.who(browser).await);
        }
        assert_eq!(left, [json!("a1"), Value::Null, Value::Null, Value::Null]);
        world.sign_in(&browsers[1], "alice").await;
        assert_eq!(act(&browsers[0], "end-all").await.status, 200);
        assert!(browsers[0].cookie(SESSION).is_none(), "the answer removes it");
        assert_eq!(world.who_is(&session).await, Value::Null);
        assert_eq!(world.who(&browsers[1]).await, Value::Null);
        assert_eq!(world.who(&bob).await, "b1");
        // The next login is another one.
        world.sign_in(&browsers[0], "alice").await;
        assert_eq!(listed(&browsers[0]).await.len(), 1);
    }
}

/// Whatever a user hands over as an id, and whatever they end: nobody else notices.
#[tokio::test]
async fn nobody_sees_or_ends_anothers() {
    for world in worlds(|config| config) {
        let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
        let bobs = listed(&bob).await;
        assert!(listed(&alice).await.iter().all(|session| id(session) != id(&bobs[0])));
        for foreign in [id(&bobs[0]), session_of(&bob), session_of(&alice), "A".repeat(22), "x".to_owned()] {
            assert_eq!(act(&alice, &format!("end/{foreign}")).await.text(), "false", "{foreign}");
        }
        assert_eq!(act(&alice, "end-others").await.text(), "0");
        assert_eq!(act(&alice, "end-all").await.status, 200);
        assert_eq!(listed(&bob).await, bobs);
        assert_eq!(act(&bob, &format!("end/{}", id(&bobs[0]))).await.text(), "true", "the control");
    }
}

/// Who can write to the database puts a tag of hers beside his session: it stays his.
#[tokio::test]
async fn what_is_sealed_decides_whose_a_session_is() {
    let world = World::new();
    let (store, watched) = world.watched();
    world.net.serve_service(APP, watched.layer.layer(with_sessions()));
    let alice = world.signed_in("alice").await;
    let hers = store.dump().await.into_iter().find(|(_, row)| !row.record.tags.is_empty()).unwrap().1.record;
    let bob = world.signed_in("bob").await;
    let is_his = |record: &Record| !record.tags.is_empty() && record.tags != hers.tags;
    let (key, his) = store.dump().await.into_iter().find(|(_, row)| is_his(&row.record)).unwrap();
    let both = his.record.tags.iter().chain(&hers.tags).copied().take(6).collect();
    store.plant(key, Record { tags: both, ..his.record }).await;
    assert_eq!(listed(&alice).await.len(), 1);
    assert_eq!(listed(&bob).await.len(), 1);
    assert_eq!(act(&alice, "end-all").await.status, 200);
    assert_eq!(world.who(&bob).await, "b1");
}

#[tokio::test]
async fn only_a_session_that_lasts_sees_and_ends() {
    let world = World::with(|config| config.api(Api::new("https://app.test/api")));
    world.serve(with_sessions());
    let (alice, thief) = (world.signed_in("alice").await, world.browser());
    thief.replace_jar(alice.clone_jar());
    assert_eq!(act(&alice, "end-all").await.status, 200);
    for what in ["end-others", "end-all", "end/AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(act(&thief, what).await.status, 401, "{what}");
        assert_eq!(act(&world.browser(), what).await.status, 401, "nobody: {what}");
        let token = world.op.access_jwt(Some("alice"), "https://app.test/api", |_| ());
        let request = http::Request::post(format!("{APP}/sessions/{what}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.body(bytes::Bytes::new()).unwrap();
        let answer = world.net.call(crate::support::net::Caller::Application, request).await.unwrap();
        assert_eq!(answer.status(), 403, "with an access token: {what}");
    }
}

/// Another site's page can end nothing.
#[tokio::test]
async fn another_site_ends_nothing() {
    let world = World::new();
    world.serve(with_sessions());
    let (alice, other) = (world.signed_in("alice").await, world.signed_in("alice").await);
    for what in ["end-others", "end-all"] {
        let form = crate::support::html::Form::post(&format!("{APP}/sessions/{what}"), &[]);
        alice.submit_from("https://evil.test", &form).await;
        let sibling = alice.submit_from("https://other.app.test/", &form).await;
        assert_eq!(sibling.status, 403);
    }
    assert_eq!(world.who(&other).await, "a1");
}

#[tokio::test]
async fn an_end_counts_in_every_process() {
    let world = World::new();
    world.serve(with_sessions());
    let _two = world.second(world.app.store.clone(), |config| config);
    for what in ["one", "end-others", "end-all"] {
        let (here, there) = (world.signed_in("alice").await, world.signed_in("alice").await);
        assert!(world.is_in_at(TWO, &there).await && world.is_in_at(TWO, &here).await);
        let what = match what {
            "one" => {
                let sessions = listed(&here).await;
                format!("end/{}", id(sessions.iter().find(|session| session["current"] == false).unwrap()))
            }
            what => what.to_owned(),
        };
        let jar = here.clone_jar();
        assert_eq!(act(&here, &what).await.status, 200, "{what}");
        here.replace_jar(jar);
        world.told().await;
        assert!(!world.is_in_at(TWO, &there).await, "{what}");
        assert_eq!(world.is_in_at(TWO, &here).await, what != "end-all", "{what}");
        act(&here, "end-all").await;
    }
}

/// A process that hears nothing finds out within `max_staleness`.
#[tokio::test]
async fn an_end_that_nobody_tells_of_counts_two_seconds_later() {
    let world = World::new();
    world.serve(with_sessions());
    let deaf = WatchedStore::new(world.app.store.clone());
    deaf.trouble(crate::support::store::Verb::Listen, Trouble::Hang);
    let _two = world.second(deaf, |config| config);
    let (here, there) = (world.signed_in("alice").await, world.signed_in("alice").await);
    assert!(world.is_in_at(TWO, &there).await);
    assert_eq!(act(&here, "end-others").await.text(), "1");
    world.told().await;
    assert!(world.is_in_at(TWO, &there).await, "nobody has told it");
    world.clock.advance(Duration::from_millis(2001));
    assert!(!world.is_in_at(TWO, &there).await);
}

/// What lasts as long as the session ends with it, and is revoked where that is configured.
#[tokio::test]
async fn grants_of_a_session_end_with_it() {
    let world = World::with(|mut config| {
        config.provider.revoke_at_logout = true;
        config
    });
    world.serve(with_sessions());
    let (first, _second) = (world.signed_in("alice").await, world.signed_in("alice").await);
    let before = world.app.store.len();
    act(&first, "end-others").await;
    world.app.layer.drain().await;
    assert_eq!(before - world.app.store.len(), 2, "a session and its grant");
    assert_eq!(world.op.revocations().len(), 1);
    assert_eq!(world.tok(&first).await.0, 200, "the other one's is untouched");
}

#[tokio::test]
async fn a_login_that_was_under_way_begins_no_session() {
    for world in worlds(|config| config) {
        let (alice, elsewhere) = (world.signed_in("alice").await, world.browser());
        world.op.sign_in_as("alice");
        for ends in ["end-others", "end-all"] {
            let leaving = elsewhere.step(&format!("{APP}/auth/login?return_to=/who")).await;
            let back = elsewhere.follow(&leaving).await.location().unwrap().to_owned();
            world.clock.advance(Duration::from_secs(1));
            assert_eq!(act(&alice, ends).await.status, 200);
            elsewhere.step(&back).await;
            let is_in = !world.who(&elsewhere).await.is_null();
            assert_eq!(is_in, ends == "end-others", "{ends}");
        }
        world.sign_in(&elsewhere, "alice").await;
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let (store, watched) = world.watched();
    world.net.serve_service(APP, watched.layer.layer(with_sessions()));
    assert_eq!(listed(&alice).await.len(), 1);
    store.break_down(&Trouble::Fail);
    for what in ["end-others", "end-all", "end/AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(act(&alice, what).await.status, 503, "{what}");
    }
    store.heal();
    assert_eq!(world.who(&alice).await, "a1");
}
