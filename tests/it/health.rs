//! `auth.health()`: the store, the provider and its keys, each by itself.

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::Readiness::{Ready, Refused, Stale, Unavailable};
use tower_oidc::{EventCode, Health, Readiness};

use crate::support::app::{APP, App, OP, World, routes};
use crate::support::fault::Fault;
use crate::support::store::{Trouble, Verb};
use crate::support::test_store::TestStore;

fn provider(health: &Health) -> (Readiness, Readiness) {
    let [provider] = health.providers.as_slice() else { panic!("there is one: {health:?}") };
    assert_eq!(provider.issuer, OP);
    (provider.metadata, provider.key_set)
}

#[tokio::test]
async fn everything_is_there() {
    let world = World::new();
    let health = world.app.layer.health().await;
    assert!(health.is_ready());
    assert_eq!(
        serde_json::to_value(&health).unwrap(),
        json!({"store": "ready", "providers": [{"issuer": OP, "metadata": "ready", "key_set": "ready"}]})
    );
    for _ in 0..20 {
        world.app.layer.health().await;
    }
    assert_eq!(world.net.requests(OP).len(), 2, "a probe asks for what is not here, and for nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_not_ready() {
    for trouble in [Trouble::Fail, Trouble::Hang] {
        let world = World::new();
        let (store, app) = world.watched();
        assert!(app.layer.health().await.is_ready());
        store.trouble(Verb::Load, trouble);
        let began = tokio::time::Instant::now();
        let health = app.layer.health().await;
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!((health.store, provider(&health)), (Unavailable, (Ready, Ready)));
        assert!(!health.is_ready());
        store.heal();
        assert!(app.layer.health().await.is_ready(), "as soon as it answers again");
    }
}

/// A database that can only be read answers every question, and signs nobody in.
#[tokio::test]
async fn a_store_that_takes_no_writes_is_not_ready() {
    let world = World::new();
    let (store, app) = world.watched();
    assert!(app.layer.health().await.is_ready());
    store.trouble(Verb::Swap, Trouble::Fail);
    assert!(app.layer.health().await.is_ready(), "nothing was written since, and a probe does not begin");
    world.op.sign_in_as("alice");
    let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 503, "{}", page.text());
    for _ in 0..2 {
        let health = app.layer.health().await;
        assert_eq!((health.store, health.is_ready()), (Unavailable, false));
    }
    store.heal();
    assert!(app.layer.health().await.is_ready(), "as soon as it takes them again, though no request comes");
    world.signed_in("alice").await;
    let writes = store.writes();
    assert!(app.layer.health().await.is_ready());
    assert_eq!(store.writes(), writes, "a probe of a store that works writes nothing");
}

/// A process that was started with the wrong secret would sign everybody out: it gets no requests.
#[tokio::test]
async fn secrets_that_do_not_open_the_store_are_not_ready() {
    let world = World::new();
    assert!(world.app.layer.health().await.is_ready());
    let start = |secret: &str| {
        let store = world.app.store.clone();
        App::over(&world.net, &world.clock, store.clone(), store, |mut config| {
            config.session_secrets = vec![secret.into()];
            config
        })
    };
    let health = start("another secret of at least thirty-two bytes").layer.health().await;
    assert_eq!(health.store, Refused);
}

/// A secret that is lost: 503 for everybody until the operator begins anew, and then all is as on the first day.
#[tokio::test]
async fn a_store_whose_secret_is_lost_begins_anew_when_told() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    assert!(!world.app.layer.reset_keys().await.unwrap(), "the secret is here");
    assert_eq!(world.who(&alice).await, "a1", "nothing is lost");
    let start = || {
        let store = world.app.store.clone();
        App::over(&world.net, &world.clock, store.clone(), store, |mut config| {
            config.session_secrets = vec!["another secret of at least thirty-two bytes".into()];
            config
        })
    };
    let other = start();
    world.net.serve_service(APP, other.layer.layer(routes()));
    assert_eq!(other.layer.health().await.store, Refused);
    assert!(other.layer.reset_keys().await.unwrap());
    assert!(!other.layer.reset_keys().await.unwrap(), "once");
    assert_eq!(other.layer.health().await.store, Ready);
    assert_eq!(world.who(&alice).await, Value::Null, "signed out");
    world.sign_in(&alice, "alice").await;
    assert_eq!(world.who(&alice).await, "a1");
    // Whoever has the old secret still, does no harm.
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.app.layer.health().await.store, Refused);
    assert_eq!(world.who(&alice).await, "a1");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_is_seen_and_leaves_the_process_ready() {
    for fault in [Fault::Refuse, Fault::Hang, Fault::Garbage] {
        let world = World::new();
        world.net.fault(OP, "/", fault.clone());
        let began = tokio::time::Instant::now();
        let health = world.app.layer.health().await;
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(provider(&health), (Unavailable, Unavailable), "{fault:?}");
        assert!(health.is_ready(), "people who are signed in do not notice");
        world.net.heal(OP);
        world.clock.advance(Duration::from_secs(10));
        assert_eq!(provider(&world.app.layer.health().await), (Ready, Ready), "{fault:?}");

        world.net.fault(OP, "/jwks", fault.clone());
        let fresh = App::start(&world.net, &world.clock, TestStore::new(), |config| config);
        assert_eq!(provider(&fresh.layer.health().await), (Ready, Unavailable), "{fault:?}");
    }
}

#[tokio::test]
async fn a_provider_that_went_away_is_stale() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    world.net.fault(OP, "/", Fault::Refuse);
    world.clock.advance(Duration::from_secs(3601));
    // What is old is read again in the background.
    for _ in 0..100 {
        world.app.layer.health().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(provider(&world.app.layer.health().await), (Stale, Stale));
    assert_eq!(world.who(&browser).await, "a1", "what was read serves on");
}

/// Reasons are the operator's: a probe's answer may be public.
#[tokio::test]
async fn a_probe_says_nothing_of_the_reasons() {
    let world = World::new();
    let (store, app) = world.watched();
    store.break_down(&Trouble::Fail);
    let text = serde_json::to_string(&app.layer.health().await).unwrap();
    assert!(text.contains(r#""store":"unavailable""#) && !text.contains("broke"), "{text}");
    assert!(app.events.has(EventCode::StoreFailed), "the operator is told");
}
