//! Several processes over one store, and what one of them has not heard yet.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tower_oidc::store::{BoxFuture, Change, Key, Record, Store, StoreError, Stored, Tag, Version};
use tower_oidc::{Config, EventCode, Timestamp};

use crate::support::app::{APP, App, World, logout_link, routes};
use crate::support::browser::Browser;
use crate::support::store::{Trouble, Verb, WatchedStore};
use crate::support::test_store::TestStore;

/// Where the first process is reached, and where the second is. Both believe in `APP`.
const ONE: &str = "https://one.test";
const TWO: &str = "https://two.test";

impl World {
    /// A process of its own over this store.
    fn process(&self, origin: &str, store: impl Store, edit: impl FnOnce(Config) -> Config) -> App {
        let app = App::over(&self.net, &self.clock, store, self.app.store.clone(), edit);
        self.net.serve_service(origin, app.layer.layer(routes()));
        app
    }

    /// Who a process believes to be at this browser.
    async fn who_at(&self, origin: &str, browser: &Browser) -> Value {
        let answer = self.ask(origin, browser, "/who").await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice::<Value>(answer.body()).unwrap()["sub"].clone()
    }
}

/// Lets the database tell what it has to, and everything go on that can.
async fn settle(world: &World) {
    world.app.store.told().await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Started here, finished there, used here, ended there.
#[tokio::test]
async fn a_login_may_be_finished_by_another_process() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let (one, two) = (world.app.clone(), world.another(|config| config));
    let serve = |app: &App| world.net.serve_service(APP, app.layer.layer(routes()));
    serve(&one);
    let browser = world.browser();
    let leaving = browser.step(&format!("{APP}/auth/login?return_to=/who")).await;
    let back = browser.follow(&leaving).await.location().unwrap().to_owned();
    serve(&two);
    let page = browser.visit(&back).await;
    assert_eq!(page.json()["sub"], "a1");
    assert!(one.events.has(EventCode::LoginStarted) && two.events.has(EventCode::LoginSucceeded));
    serve(&one);
    assert_eq!(world.who(&browser).await, "a1");
    let token = browser.navigate(&format!("{APP}/tok")).await.text();
    assert_eq!(world.op.owner_of(&token).as_deref(), Some("alice"));
    let link = logout_link(&browser, "/bye").await;
    serve(&two);
    browser.visit(&link).await;
    assert_eq!(world.who(&browser).await, Value::Null);
}

/// A code that both get is spent by one of them.
#[tokio::test]
async fn two_processes_finish_a_login_once() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let (one, two) = (world.app.clone(), world.another(|config| config));
    let browser = world.browser();
    let leaving = browser.step(&format!("{APP}/auth/login?return_to=/who")).await;
    let back = browser.follow(&leaving).await.location().unwrap().to_owned();
    let jar = browser.clone_jar();
    let mut signed_in = 0;
    for app in [&one, &two] {
        world.net.serve_service(APP, app.layer.layer(routes()));
        browser.replace_jar(jar.clone());
        let page = browser.visit(&back).await;
        signed_in += usize::from(page.status == 200 && page.url.path() == "/who" && page.json()["sub"] == "a1");
    }
    assert_eq!((signed_in, world.op.code_exchanges().len()), (1, 1));
}

/// Whoever signs out, or is signed out, at one process is out at the other at that moment. No
/// clock moves.
#[tokio::test]
async fn an_end_at_one_process_is_an_end_at_all() {
    let world = World::new();
    let store = world.app.store.clone();
    let (one, two) = (world.process(ONE, store.clone(), |c| c), world.process(TWO, store, |c| c));
    for by_provider in [false, true] {
        let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
        for origin in [ONE, TWO, ONE, TWO] {
            assert_eq!(world.who_at(origin, &alice).await, "a1");
            assert_eq!(world.who_at(origin, &bob).await, "b1");
        }
        if by_provider {
            assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
        } else {
            let link = logout_link(&alice, "/bye").await;
            // With her cookie, by a script of hers: the browser keeps it, so that the others are asked with it.
            let path = link.strip_prefix(APP).unwrap();
            assert_eq!(world.ask(ONE, &alice, path).await.unwrap().status(), 303);
        }
        settle(&world).await;
        for origin in [ONE, TWO, APP] {
            assert_eq!(world.who_at(origin, &alice).await, Value::Null, "{origin}, by the provider: {by_provider}");
            assert_eq!(world.who_at(origin, &bob).await, "b1", "{origin}");
        }
    }
    drop((one, two));
}

/// What is not heard is found out within `max_staleness`, 2 s by default, and at once where that is 0.
#[tokio::test]
async fn a_lost_notification_costs_max_staleness_at_the_most() {
    for (staleness, believed) in [(2, true), (0, false)] {
        let world = World::new();
        let deaf = WatchedStore::new(world.app.store.clone());
        deaf.trouble(Verb::Listen, Trouble::Hang);
        let edit = |mut config: Config| {
            config.max_staleness = Duration::from_secs(staleness);
            config
        };
        let _two = world.process(TWO, deaf, edit);
        let alice = world.signed_in("alice").await;
        assert_eq!(world.who_at(TWO, &alice).await, "a1");
        assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
        settle(&world).await;
        assert_eq!(!world.who_at(TWO, &alice).await.is_null(), believed);
        world.clock.advance(Duration::from_millis(2001));
        assert_eq!(world.who_at(TWO, &alice).await, Value::Null);
    }
}

/// What a process did itself nobody has to tell it.
#[tokio::test]
async fn a_logout_counts_at_once_where_it_arrives_whatever_is_heard() {
    let world = World::new();
    let deaf = WatchedStore::new(world.app.store.clone());
    deaf.trouble(Verb::Listen, Trouble::Hang);
    let only = world.process(TWO, deaf, |config| config);
    world.net.serve_service(APP, only.layer.layer(routes()));
    let alice = world.signed_in("alice").await;
    assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
    assert_eq!(world.who(&alice).await, Value::Null);
}

/// A store that cannot be listened to for a while: it is tried again, and what was missed is asked for.
#[tokio::test(start_paused = true)]
async fn listening_survives_a_store_that_fails() {
    let world = World::new();
    let store = WatchedStore::new(world.app.store.clone());
    store.trouble(Verb::Listen, Trouble::Fail);
    let two = world.process(TWO, store.clone(), |config| config);
    let alice = world.signed_in("alice").await;
    assert_eq!(world.who_at(TWO, &alice).await, "a1");
    for second in 0..100 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second % 10 == 0 {
            // What it writes itself is no sign that anybody listens.
            world.clock.advance(Duration::from_secs(3600));
            assert_eq!(world.tok_at(TWO, &alice).await.0, 200);
        }
    }
    let failures = two.events.count(EventCode::StoreFailed);
    assert!((20..30).contains(&failures), "{failures}: never later than after 5 s, and no storm");
    assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
    assert_eq!(world.who_at(TWO, &alice).await, "a1", "nobody has told it");
    store.heal();
    tokio::time::sleep(Duration::from_secs(6)).await;
    settle(&world).await;
    assert_eq!(world.who_at(TWO, &alice).await, Value::Null, "what it missed meanwhile it asks for");
    let alice = world.signed_in("alice").await;
    assert_eq!(world.who_at(TWO, &alice).await, "a1");
    assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
    settle(&world).await;
    assert_eq!(world.who_at(TWO, &alice).await, Value::Null, "and it hears again");
}

/// Whoever listens does not keep the layer alive, nor the store.
#[tokio::test]
async fn nobody_listens_for_a_layer_that_is_gone() {
    let world = World::new();
    let (send, gone) = std::sync::mpsc::channel();
    let store = Dropped { rows: world.app.store.clone(), _told: std::sync::Arc::new(Tell(send)) };
    let app = world.process(TWO, store, |config| config);
    let alice = world.signed_in("alice").await;
    assert_eq!(world.who_at(TWO, &alice).await, "a1");
    settle(&world).await;
    assert!(gone.try_recv().is_err(), "it is in use");
    world.net.serve_service(TWO, routes());
    drop(app);
    settle(&world).await;
    assert!(gone.try_recv().is_ok(), "the last one has let go of the store");
}

struct Tell(std::sync::mpsc::Sender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A store that says when nobody has it any more.
#[derive(Clone)]
struct Dropped {
    rows: TestStore,
    _told: std::sync::Arc<Tell>,
}

impl Store for Dropped {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        self.rows.load(key)
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        self.rows.swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.rows.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        self.rows.find(tag)
    }

    fn delete_expired(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.rows.delete_expired(now)
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> BoxFuture<'a, Result<(), StoreError>> {
        self.rows.subscribe(heard)
    }
}

/// A logout in an old tab, at a process that has not heard that a login has replaced its session, takes nothing of the new
/// one, which has the grant of the one before it.
#[tokio::test]
async fn a_logout_of_a_session_that_was_replaced_leaves_the_new_one_its_grant() {
    let world = World::new();
    let deaf = WatchedStore::new(world.app.store.clone());
    deaf.trouble(Verb::Listen, Trouble::Hang);
    let two = world.process(TWO, deaf, |config| config);
    let (alice, old) = (world.signed_in("alice").await, world.browser());
    old.replace_jar(alice.clone_jar());
    assert_eq!(world.who_at(TWO, &alice).await, "a1", "it knows the old one");
    world.sign_in(&alice, "alice").await;
    let serve = |app: &App| world.net.serve_service(APP, app.layer.layer(routes()));
    serve(&two);
    let request = Request::post(format!("{APP}/auth/logout?return_to=/")).header("origin", APP).body(Bytes::new());
    assert_eq!(old.raw_with_cookies(request.unwrap()).await.status(), 303);
    assert_eq!(two.events.count(EventCode::LoggedOut), 1, "it believed in the old one");
    settle(&world).await;
    serve(&world.app);
    world.clock.advance(Duration::from_millis(2001));
    // A script, which is not sent to the provider for another grant.
    let answer = world.ask(APP, &alice, "/tok").await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
}
