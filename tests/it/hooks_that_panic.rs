//! Code of the application that panics: nothing of what the provider gave is lost, and nobody is signed out by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tower_oidc::store::{Key, Record, Store, StoreFuture, Stored, Tag, Version};
use tower_oidc::{Config, EventCode, OidcLayer, ProviderConfig, Timestamp};

use crate::support::app::{APP, App, OP2, World, config, routes};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};

const HOUR: Duration = Duration::from_secs(3600);

/// A switch that a hook looks at.
#[derive(Clone, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn off(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    fn look(&self) {
        assert!(!self.0.load(Ordering::SeqCst), "the application's own mistake");
    }
}

/// The rotated refresh token is the only copy: it is written although the application panics at every event.
#[tokio::test]
async fn a_panic_in_the_hook_for_events_loses_no_rotated_refresh_token() {
    let switch = Switch::default();
    let world = World::new();
    let hook = switch.clone();
    let count = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&count);
    let config = config(&world.net, &world.clock).on_event(move |_| {
        told.fetch_add(1, Ordering::SeqCst);
        hook.look();
    });
    let layer = OidcLayer::per_user(config, world.app.store.clone()).unwrap();
    world.net.serve_service(APP, layer.layer(routes()));
    let alice = world.signed_in("alice").await;
    switch.on();
    for round in 1..=3 {
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (round, 0));
    }
    assert!(count.load(Ordering::SeqCst) >= 3, "it was called");
    // A login and a logout go on as well.
    world.signed_in("bob").await;
}

#[tokio::test]
async fn a_panic_in_the_login_hook_signs_nobody_in_and_drops_the_tokens() {
    let switch = Switch::default();
    let hook = switch.clone();
    let world = World::with(move |config| {
        config.on_login(move |_| {
            let hook = hook.clone();
            async move {
                hook.look();
                tower_oidc::LoginDecision::Allow
            }
        })
    });
    world.op.sign_in_as("alice");
    switch.on();
    let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!((page.status, page.url.path()), (StatusCode::INTERNAL_SERVER_ERROR, "/auth/callback"));
    assert_eq!(world.app.events.count(EventCode::TokensDropped), 1, "what came is dropped, and said so");
    switch.off();
    world.signed_in("alice").await;
}

#[tokio::test]
async fn a_panic_in_another_hook_gives_the_layers_own_answer() {
    let home = |config: Config| {
        let home = ProviderConfig::new(OP2, CLIENT_ID).client_secret(CLIENT_SECRET).name("home");
        config.add_provider(home)
    };
    let world = World::with(|config| {
        home(config)
            .on_unauthenticated(|_| -> Response<Bytes> { panic!("the application's own mistake") })
            .on_choose_provider(|_| -> Response<Bytes> { panic!("the application's own mistake") })
    });
    let fetched = world.browser().fetch(Method::GET, &format!("{APP}/tok"), "", APP).await;
    assert_eq!((fetched.status.as_u16(), &fetched.json()["code"]), (401, &"unauthenticated".into()));
    let page = world.browser().navigate(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.links().iter().any(|link| link.contains("provider=home")), "{:?}", page.links());
}

/// A store of the application's own that panics at each write while the switch is on, before or after it has written.
#[derive(Clone)]
struct Panicking {
    rows: crate::support::test_store::TestStore,
    switch: Switch,
}

impl Store for Panicking {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        self.rows.load(key)
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        Box::pin(async move {
            let written = self.rows.swap(key, expected, record).await;
            self.switch.look();
            written
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        self.rows.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        self.rows.find(tag)
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        self.rows.delete_expired(older_than)
    }
}

#[tokio::test]
async fn a_panic_in_the_store_is_a_write_whose_outcome_is_unknown() {
    let world = World::new();
    let switch = Switch::default();
    let store = Panicking { rows: world.app.store.clone(), switch: switch.clone() };
    let app = App::over(&world.net, &world.clock, store, world.app.store.clone(), |config| config);
    world.net.serve_service(APP, app.layer.layer(routes()));
    let alice = world.signed_in("alice").await;
    switch.on();
    world.clock.advance(HOUR);
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0), "the row says that it was written");
    assert!(app.events.has(EventCode::StoreFailed));
    switch.off();
    world.clock.advance(HOUR);
    world.token_of(&alice, "alice").await;
}
