//! The account that an admin connects by hand.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tower_oidc::store::MemoryStore;
use tower_oidc::{AccountState, EventCode, SharedAccount};

use super::app::{Durable, login_status, reads_as, script, start, state};
use crate::support::app::{APP, App, EVIL, OP, World};
use crate::support::browser::{Browser, Page};
use crate::support::fault::{Fault, Gate};
use crate::support::html::Form;

pub(crate) const CONNECT: &str = "https://app.test/auth/connect?connection=login&return_to=/status";
const DISCONNECT: &str = "https://app.test/auth/disconnect?connection=login&return_to=/who";

type Rows = Durable<MemoryStore>;

pub(crate) fn world() -> (World, App, Rows) {
    let world = World::new();
    for name in ["robot", "droid"] {
        world.op.user(name, |_| {});
    }
    let store = Durable(MemoryStore::new());
    let app = start(&world, SharedAccount::connected_by_admin(), store.clone(), |config| config);
    (world, app, store)
}

/// An admin opens the page, means it, and signs in at the provider as this person.
pub(crate) async fn connect_as(world: &World, admin: &Browser, name: &str) -> Page {
    let asks = admin.navigate(CONNECT).await;
    assert_eq!(asks.status, 200, "{}", asks.text());
    world.op.sign_in_as(name);
    admin.submit(&asks.form()).await
}

#[tokio::test]
async fn an_admin_connects_once_and_everybody_uses_it() {
    let (world, app, store) = world();
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    assert_eq!(state(&app).await, AccountState::NeedsOperator);
    let anonymous = world.browser().step(CONNECT).await;
    assert_eq!(anonymous.status, 303);
    assert!(anonymous.location().unwrap().starts_with("/auth/login?"), "first the login");
    let bob = world.signed_in("bob").await;
    assert_eq!(bob.navigate(CONNECT).await.status, 403, "he is no admin");
    assert_eq!(bob.submit_from(APP, &Form::post(CONNECT, &[])).await.status, 403);
    assert!(world.op.authorizations().len() == 1, "he was sent nowhere");

    let alice = world.signed_in("alice").await;
    let page = connect_as(&world, &alice, "robot").await;
    assert_eq!(page.path_and_query(), "/status", "{}", page.text());
    assert_eq!((&page.json()["state"], &page.json()["account"]), (&"connected".into(), &"r1".into()));
    let asked = world.op.last_authorization();
    assert_eq!(asked.get("scope"), Some("openid email profile mail.read"), "what the login's grant needs");
    assert_eq!(world.who(&alice).await, "a1", "she is herself");
    for browser in [&world.browser(), &bob, &alice] {
        assert_eq!(reads_as(browser).await, "robot");
    }
    // A restart, and the tokens over.
    let app = start(&world, SharedAccount::connected_by_admin(), store, |config| config);
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(reads_as(&world.browser()).await, "robot");
    let status = login_status(&app).await;
    assert_eq!((status.state, status.subject.as_deref()), (AccountState::Connected, Some("r1")));
    assert_eq!(world.op.reuse_detected(), 0);
}

/// Another site's link or form must not put the account that the admin happens to be signed in with in its place.
#[tokio::test]
async fn another_site_connects_and_disconnects_nothing() {
    let (world, app, _) = world();
    let alice = world.signed_in("alice").await;
    connect_as(&world, &alice, "robot").await;
    world.op.sign_in_as("alice");
    let authorizations = world.op.authorizations().len();
    let link = alice.click_from(EVIL, CONNECT).await;
    assert_eq!(link.status, 200, "a link asks");
    assert!(link.text().contains("Connect an account for everybody?"));
    for address in [CONNECT, DISCONNECT] {
        alice.submit_from(EVIL, &Form::post(address, &[])).await;
        // Nor where a browser sends the cookie along.
        let forged = Request::post(address).header("origin", EVIL).body(Bytes::new()).unwrap();
        assert_eq!(alice.raw_with_cookies(forged).await.status(), 403, "{address}");
        let silent = Request::post(address).body(Bytes::new()).unwrap();
        assert_eq!(alice.raw_with_cookies(silent).await.status(), 403, "{address}");
    }
    let meant = |one: &crate::support::provider::AuthorizationRequest| {
        one.params.get("scope").is_some_and(|scope| scope.contains("mail.read"))
    };
    assert!(!world.op.authorizations()[authorizations..].iter().any(meant), "nothing but logins");
    assert!(world.op.revocations().is_empty());
    assert!(app.events.has(EventCode::CrossSiteRefused));
    assert_eq!(reads_as(&world.browser()).await, "robot");
}

/// A provider with back-channel logout signs the admin out, because there they have become the other account. Somebody
/// else who signs in meanwhile connects nothing.
#[tokio::test]
async fn an_admin_who_is_signed_out_on_the_way_connects_all_the_same() {
    let (world, _, _) = world();
    for meanwhile in ["bob", "nobody"] {
        let alice = world.signed_in("alice").await;
        let asks = alice.navigate(CONNECT).await;
        let form = asks.form();
        world.op.sign_in_as("robot");
        let gate = Gate::new();
        world.net.fault(OP, "/authorize", Fault::GateAnswer(gate.clone()));
        let tab = alice.new_tab();
        let connecting = tokio::spawn(async move { tab.submit_from(APP, &form).await });
        gate.wait_for_arrivals(1).await;
        alice.submit_from(APP, &Form::post(&format!("{APP}/auth/logout?return_to=/"), &[])).await;
        world.net.heal(OP);
        if meanwhile == "bob" {
            world.sign_in(&alice, "bob").await;
        }
        gate.open();
        let page = connecting.await.unwrap();
        let owner = reads_as(&world.browser()).await;
        if meanwhile == "bob" {
            assert_eq!((page.status.as_u16(), owner.as_str()), (400, "operator_action_required"), "{}", page.text());
        } else {
            assert_eq!(owner, "robot", "{}", page.text());
        }
    }
}

#[tokio::test]
async fn only_admins_disconnect() {
    let (world, _, _) = world();
    let alice = world.signed_in("alice").await;
    let bob = world.signed_in("bob").await;
    connect_as(&world, &alice, "robot").await;
    let form = Form::post(DISCONNECT, &[]);
    let own = Form::post(&format!("{APP}/disconnect"), &[]);
    assert_eq!(bob.submit_from(APP, &form).await.status, 403);
    assert_eq!(bob.submit_from(APP, &own).await.status, 403, "nor by a handler");
    assert_eq!(world.browser().submit_from(APP, &own).await.status, 401);
    world.browser().submit_from(APP, &form).await;
    assert!(world.op.revocations().is_empty());
    assert_eq!(reads_as(&world.browser()).await, "robot");
    assert_eq!(alice.submit_from(APP, &form).await.path_and_query(), "/who", "the control");
    assert_eq!(world.op.revocations().len(), 1);
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    connect_as(&world, &alice, "robot").await;
    assert_eq!(alice.submit_from(APP, &own).await.text(), "Revoked", "and by a handler");
}

/// The newest connection counts, and the one before never comes back.
#[tokio::test]
async fn another_account_takes_the_place_of_the_first() {
    let (world, app, _) = world();
    let alice = world.signed_in("alice").await;
    connect_as(&world, &alice, "robot").await;
    assert_eq!(reads_as(&world.browser()).await, "robot");
    connect_as(&world, &alice, "droid").await;
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(reads_as(&world.browser()).await, "droid");
    world.op.edit_refreshed_id_token(|draft| draft.claim("sub", "r1"));
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required", "nor by a refresh");
    assert!(app.events.has(EventCode::RefreshOwnerMismatch));
    world.op.honest();
    connect_as(&world, &alice, "robot").await;
    assert_eq!(reads_as(&world.browser()).await, "robot", "an admin mends it");
}

/// What the configuration says is not to be connected or taken away by a page.
#[tokio::test]
async fn a_configured_account_is_not_connected_by_hand() {
    let world = World::new();
    start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    let alice = world.signed_in("alice").await;
    assert_eq!(alice.navigate(CONNECT).await.status, 404);
    assert_eq!(alice.submit_from(APP, &Form::post(CONNECT, &[])).await.status, 404);
    assert_eq!(alice.submit_from(APP, &Form::post(DISCONNECT, &[])).await.status, 404);
    let own = Form::post(&format!("{APP}/disconnect"), &[]);
    assert_eq!(alice.submit_from(APP, &own).await.status, 403);
    assert_eq!(script(&alice, &format!("{APP}/status")).await.json()["state"], "connected");
}
