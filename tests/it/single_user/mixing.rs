//! What is the account's is never a person's, and the reverse, in the same store and with rows moved.

use tower_oidc::store::MemoryStore;
use tower_oidc::{EventCode, OidcLayer, SharedAccount};

use super::app::{Durable, configured, reads_as, start};
use super::operator::connect_as;
use crate::support::app::{APP, Events, World, routes, session_of};
use crate::support::store::WatchedStore;

type Rows = Durable<WatchedStore>;

/// The same store with everybody's own tokens.
fn start_per_user(world: &World, store: Rows) -> Events {
    let events = Events::default();
    let layer = OidcLayer::per_user(configured(world).on_event(events.hook()), store);
    world.net.serve_service(APP, layer.unwrap_or_else(|error| panic!("{error}")).layer(routes()));
    events
}

#[tokio::test]
async fn modes_on_one_store_never_mix() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let store = Durable(WatchedStore::new(MemoryStore::new()));
    start_per_user(&world, store.clone());
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    assert_eq!((reads_as(&alice).await, reads_as(&bob).await), ("alice".into(), "bob".into()));
    start(&world, SharedAccount::connected_by_admin(), store.clone(), |config| config);
    for browser in [&world.browser(), &alice, &bob] {
        assert_eq!(reads_as(browser).await, "operator_action_required", "people's grants are not the account's");
    }
    connect_as(&world, &alice, "robot").await;
    for browser in [&world.browser(), &alice, &bob] {
        assert_eq!(reads_as(browser).await, "robot");
    }
    start_per_user(&world, store.clone());
    assert_eq!(reads_as(&world.browser()).await, "unauthenticated");
    assert_eq!((reads_as(&alice).await, reads_as(&bob).await), ("alice".into(), "bob".into()));
    // Another account of the same store is another one too.
    start(&world, SharedAccount::connected_by_admin().with_name("other"), store, |config| config);
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
}

/// Every row over every other: nothing opens but in its own place.
#[tokio::test]
async fn moved_rows_are_nobodys() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let store = WatchedStore::new(MemoryStore::new());
    start_per_user(&world, Durable(store.clone()));
    let alice = world.signed_in("alice").await;
    start(&world, SharedAccount::connected_by_admin(), Durable(store.clone()), |config| config);
    connect_as(&world, &alice, "robot").await;
    let session = session_of(&alice);
    let rows = store.dump().await;
    let mut tampered = 0;
    for (at, (_, from)) in rows.iter().enumerate() {
        for (to, (key, _)) in rows.iter().enumerate() {
            let copy = WatchedStore::new(MemoryStore::new());
            for (key, stored) in &rows {
                copy.plant(*key, stored.record.clone()).await;
            }
            copy.plant(*key, from.record.clone()).await;
            let events = start_per_user(&world, Durable(copy.clone()));
            let cookie = format!("__Host-tower-oidc-session={session}");
            let token = world.with_cookie("/tok", cookie.as_bytes()).await;
            let owner = world.op.owner_of(std::str::from_utf8(token.body()).unwrap());
            assert!(matches!(owner.as_deref(), None | Some("alice")), "{at} over {to}: {owner:?}");
            assert!(at != to || owner.is_some(), "the control: each in its place");
            tampered += usize::from(events.has(EventCode::Tampered));

            let app = start(&world, SharedAccount::connected_by_admin(), Durable(copy), |config| config);
            let owner = reads_as(&world.browser()).await;
            assert!(
                matches!(owner.as_str(), "robot" | "operator_action_required" | "unavailable"),
                "{at} over {to}: {owner}"
            );
            assert!(at != to || owner == "robot", "the control: each in its place");
            tampered += usize::from(app.events.has(EventCode::Tampered));
        }
    }
    assert!(tampered > rows.len(), "and it is told");
}

/// Somebody begins to grant what is their own, and comes back to an application that has an account for everybody.
#[tokio::test]
async fn what_was_begun_as_ones_own_never_becomes_everybodys() {
    let world = World::new();
    let store = Durable(WatchedStore::new(MemoryStore::new()));
    start_per_user(&world, store.clone());
    // Alice is an admin, and granted it for herself all the same.
    for name in ["bob", "alice"] {
        start_per_user(&world, store.clone());
        let browser = world.signed_in(name).await;
        let at_provider = browser.step(&format!("{APP}/auth/connect?connection=login&return_to=/who")).await;
        let back = browser.follow(&at_provider).await;
        start(&world, SharedAccount::connected_by_admin(), store.clone(), |mut config| {
            config.provider.revocation_is_per_token = true;
            config
        });
        let page = browser.follow(&back).await;
        let page = if page.status.is_redirection() { browser.follow(&page).await } else { page };
        assert_eq!(page.status, 400, "{name}: {}", page.text());
        assert_eq!(reads_as(&world.browser()).await, "operator_action_required", "{name}");
    }
    assert_eq!(world.op.revocations().len(), 2);
}
