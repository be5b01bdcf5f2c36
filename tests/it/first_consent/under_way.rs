//! A consent without a refresh token comes while a refresh of the grant is under way.

use tower_oidc::{EventCode, OidcLayer, SharedAccount};

use super::{HOUR, MAIL, PHOTOS, connect, connections, kept, need, served, worlds};
use crate::single_user::app::{CAL, Durable, configured, reads_as, reads_as_at};
use crate::support::app::{APP, App, OP, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::html::Form;
use crate::support::test_store::TestStore;

/// Where another process of the application is reached.
const REPLICA: &str = "https://replica.test";

/// A request in another tab has the access token refreshed; `fault` keeps the provider's answer, or the request, back.
async fn refreshing(
    world: &World, browser: &Browser, url: &'static str, fault: impl Fn(Gate) -> Fault,
) -> (Gate, tokio::task::JoinHandle<String>) {
    world.clock.advance(HOUR);
    let gate = Gate::new();
    world.net.fault(OP, "/token", fault(gate.clone()));
    let other = world.browser();
    other.replace_jar(browser.clone_jar());
    let asking = tokio::spawn(async move { reads_as_at(&other, url).await });
    gate.wait_for_arrivals(1).await;
    world.net.heal(OP);
    (gate, asking)
}

/// Neither the rotated token nor the new access token is lost.
#[tokio::test]
async fn a_consent_during_a_refresh_loses_nothing() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail").await;
        let (gate, asking) = refreshing(&world, &browser, MAIL, Fault::GateAnswer).await;
        connect(&browser, "mail&scope=mail.send").await;
        gate.open();
        assert_eq!(asking.await.unwrap(), "alice");
        assert_eq!(need(&browser, "mail", "mail.send").await, 200, "the new access token is there");
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, MAIL).await, "alice", "the rotated refresh token is there");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

/// The browser keeps its name then: the answer comes to it.
#[tokio::test(start_paused = true)]
async fn a_visitors_consent_during_a_refresh_loses_nothing() {
    for world in worlds() {
        let browser = world.browser();
        world.op.sign_in_as("alice");
        connect(&browser, "photos").await;
        let (gate, asking) = refreshing(&world, &browser, PHOTOS, Fault::GateAnswer).await;
        connect(&browser, "photos&scope=photos.share").await;
        gate.open();
        assert_eq!(asking.await.unwrap(), "alice");
        assert_eq!(need(&browser, "photos", "photos.share").await, 200);
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, PHOTOS).await, "alice");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

#[tokio::test]
async fn a_consent_for_everybody_during_a_refresh_loses_nothing() {
    let world = World::new();
    world.op.set(|settings| settings.refresh_token_once = true);
    let layer =
        OidcLayer::single_user(configured(&world), SharedAccount::connected_by_admin(), Durable(TestStore::new()));
    world.net.serve_service(APP, layer.unwrap().layer(routes()));
    let admin = world.signed_in("alice").await;
    world.op.new_person("alice");
    let connect = async || {
        let form = Form::post(&format!("{APP}/auth/connect?connection=login&return_to=/who"), &[]);
        let sent = admin.submit_from(APP, &form).await;
        assert_eq!(admin.settle(sent).await.status, 200);
    };
    connect().await;
    let (gate, asking) = refreshing(&world, &world.browser(), CAL, Fault::GateAnswer).await;
    connect().await;
    gate.open();
    assert_eq!(asking.await.unwrap(), "alice");
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&world.browser()).await, "alice");
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
}

/// The lease stays: while the refresh token is spent, nobody else spends it.
#[tokio::test]
async fn a_consent_leaves_the_lease_of_a_refresh() {
    for edit in [connections, kept] {
        let world = served(World::with(edit));
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail").await;
        let (gate, asking) = refreshing(&world, &browser, MAIL, Fault::GateAnswer).await;
        connect(&browser, "mail").await;
        let other = App::unserved(&world.net, &world.clock, world.app.store.clone(), edit);
        world.net.serve_service(REPLICA, other.layer.layer(routes()));
        // The API refuses the new access token: the other process wants another one.
        world.api.refuse("/mail/", 1, "Bearer error=\"invalid_token\"");
        let there = tokio::spawn(world.ask(REPLICA, &browser, "/fetch?u=https://api.test/mail/"));
        while world.app.store.waits() == 0 && !there.is_finished() {
            tokio::task::yield_now().await;
        }
        gate.open();
        assert_eq!(there.await.unwrap().unwrap().status(), 200);
        assert_eq!(asking.await.unwrap(), "alice");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

/// The refresh token is refused. What the consent brought meanwhile is good without it, until it ends.
#[tokio::test]
async fn a_refresh_token_that_is_refused_leaves_what_a_consent_brought() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail").await;
        world.op.revoke_grants_of("alice");
        let (gate, asking) = refreshing(&world, &browser, MAIL, Fault::Gate).await;
        connect(&browser, "mail&scope=mail.send").await;
        gate.open();
        assert_eq!(asking.await.unwrap(), "alice", "with what the consent brought");
        assert_eq!(world.app.events.count(EventCode::RefreshRefused), 1, "it is told");
        assert_eq!(need(&browser, "mail", "mail.send").await, 200);
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, MAIL).await, "consent_required");
        assert_eq!(world.op.refreshes().len(), 1, "nothing is there to be spent again");
    }
}

/// Somebody else appears in the refresh: nothing of the grant is used any more, whatever a consent brought.
#[tokio::test]
async fn another_owner_in_a_refresh_ends_what_a_consent_brought() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail").await;
        world.op.edit_refreshed_id_token(|token| token.claim("sub", "b1"));
        let (gate, asking) = refreshing(&world, &browser, MAIL, Fault::GateAnswer).await;
        connect(&browser, "mail").await;
        gate.open();
        assert_eq!(asking.await.unwrap(), "consent_required");
        assert_eq!(world.app.events.count(EventCode::RefreshOwnerMismatch), 1);
        assert_eq!(reads_as_at(&browser, MAIL).await, "consent_required");
    }
}
