//! The session that a login replaces: its refresh token goes on in the new one.

use std::time::Duration;

use tokio::time::Instant;
use tower_oidc::Config;

use super::{HOUR, connections, kept, served};
use crate::single_user::app::reads_as;
use crate::support::app::{APP, App, OP, World};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::store::{Trouble, Verb, WatchedStore};
use crate::support::test_store::TestStore;

/// A world whose store can be watched, where sessions and grants lie there and where browsers carry them.
fn worlds(edit: fn(Config) -> Config) -> [(World, WatchedStore); 2] {
    [false, true].map(|carried| {
        let (world, rows) = (World::with(edit), TestStore::new());
        let watched = WatchedStore::new(rows.clone());
        let (net, clock) = (&world.net, &world.clock);
        let app = match carried {
            false => App::over(net, clock, watched.clone(), rows, edit),
            true => App::stateless_at(net, clock, watched.clone(), rows, edit),
        };
        (served(World { app, ..world }), watched)
    })
}

fn revoking(config: Config) -> Config {
    let mut config = connections(config);
    config.provider.revoke_at_logout = true;
    config
}

fn tab(world: &World, browser: &Browser) -> Browser {
    let tab = world.browser();
    tab.replace_jar(browser.clone_jar());
    tab
}

async fn login(browser: &Browser) {
    assert_eq!(browser.visit(&format!("{APP}/auth/login?return_to=/who")).await.json()["sub"], "a1");
}

/// Until somebody waits for a row, or this is over.
async fn waits<T>(world: &World, task: &tokio::task::JoinHandle<T>) {
    while world.app.store.waits() == 0 && !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

async fn reads(browser: Browser) -> String {
    reads_as(&browser).await
}

/// A refresh of the former session's grant is under way: what it brings is the new session's.
#[tokio::test]
async fn a_refresh_goes_on_beside_a_login() {
    for (world, _) in worlds(connections) {
        let browser = world.signed_in("alice").await;
        world.clock.advance(HOUR);
        let gate = Gate::new();
        world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
        let asking = tokio::spawn(reads(tab(&world, &browser)));
        gate.wait_for_arrivals(1).await;
        world.net.heal(OP);
        let login = tokio::spawn(async move {
            login(&browser).await;
            browser
        });
        waits(&world, &login).await;
        gate.open();
        asking.await.unwrap();
        let browser = login.await.unwrap();
        for refreshes in 2..=3 {
            world.clock.advance(HOUR);
            assert_eq!(reads_as(&browser).await, "alice");
            assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (refreshes, 0));
        }
    }
}

/// A login waits for no refresh: the grant stays where it is.
#[tokio::test(start_paused = true)]
async fn a_login_waits_for_no_refresh() {
    for (world, _) in worlds(connections) {
        let browser = world.signed_in("alice").await;
        world.clock.advance(HOUR);
        let gate = Gate::new();
        world.net.fault(OP, "/token", Fault::Gate(gate.clone()));
        let asking = tokio::spawn(reads(tab(&world, &browser)));
        gate.wait_for_arrivals(1).await;
        world.net.heal(OP);
        let began = Instant::now();
        let login = tokio::spawn(async move {
            login(&browser).await;
            browser
        });
        waits(&world, &login).await;
        // The provider is asked once more, and does not answer either.
        world.net.fault(OP, "/token", Fault::Hang);
        let browser = login.await.unwrap();
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(1), "{waited:?}");
        asking.await.unwrap();
        world.net.heal(OP);
        assert_eq!(reads_as(&browser).await, "alice", "the login brought an access token");
    }
}

/// Where grants are the person's and not the session's, there is nothing to be taken over and nothing to wait for.
#[tokio::test(start_paused = true)]
async fn a_login_with_grants_of_the_person_waits_for_no_refresh() {
    let world = served(World::with(kept));
    let browser = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let asking = tokio::spawn(reads(tab(&world, &browser)));
    gate.wait_for_arrivals(1).await;
    world.net.heal(OP);
    let began = Instant::now();
    login(&browser).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    gate.open();
    asking.await.unwrap();
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&browser).await, "alice");
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
}

/// While a login writes the grant, requests of the former session do not spend its refresh token.
#[tokio::test]
async fn a_login_writes_the_grant_beside_requests_of_the_former_session() {
    for (world, watched) in worlds(connections) {
        let browser = world.signed_in("alice").await;
        world.clock.advance(HOUR);
        let (exchange, lease) = (Gate::new(), Gate::new());
        world.net.fault(OP, "/token", Fault::GateAnswer(exchange.clone()));
        let former = tab(&world, &browser);
        let login = tokio::spawn(async move {
            login(&browser).await;
            browser
        });
        exchange.wait_for_arrivals(1).await;
        world.net.heal(OP);
        watched.trouble(Verb::Swap, Trouble::GateAnswer(lease.clone()));
        exchange.open();
        lease.wait_for_arrivals(1).await;
        let asking = tokio::spawn(reads(former));
        waits(&world, &asking).await;
        lease.open();
        asking.await.unwrap();
        let browser = login.await.unwrap();
        assert_eq!(world.op.refreshes().len(), 0, "nobody has spent it");
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&browser).await, "alice");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
    }
}

/// The lease is the login's alone: the first refresh in the new session waits for nobody.
#[tokio::test(start_paused = true)]
async fn the_new_session_begins_without_a_lease() {
    for (world, _) in worlds(connections) {
        let browser = world.signed_in("alice").await;
        login(&browser).await;
        world.clock.advance(HOUR);
        let began = Instant::now();
        assert_eq!(reads_as(&browser).await, "alice");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

/// Where a logout revokes, the end of the former session does not revoke what goes on.
#[tokio::test]
async fn what_goes_on_is_not_revoked_with_the_former_session() {
    for (world, _) in worlds(revoking) {
        // Bob has consented before: no refresh token comes for him later.
        world.signed_in("bob").await;
        let browser = world.signed_in("alice").await;
        for _ in 0..2 {
            login(&browser).await;
            world.app.layer.drain().await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as(&browser).await, "alice");
        }
        assert_eq!(world.op.revocations().len(), 0);
        // The control: what does not go on, because a refresh token came or somebody else did, is.
        world.op.new_person("alice");
        login(&browser).await;
        world.app.layer.drain().await;
        assert_eq!(world.op.revocations().len(), 1, "a refresh token came");
        world.sign_in(&browser, "bob").await;
        world.app.layer.drain().await;
        assert_eq!(world.op.revocations().len(), 2, "somebody else came");
        assert!(world.op.revocations().iter().all(|one| one.owner.as_deref() == Some("alice")));
    }
}

/// The store fails where the former session is to be ended: what goes on is not revoked.
#[tokio::test]
async fn a_former_session_that_cannot_be_ended_takes_nothing_along() {
    let [(world, watched), _] = worlds(revoking);
    let browser = world.signed_in("alice").await;
    watched.trouble(Verb::Delete, Trouble::FailOnce);
    login(&browser).await;
    world.app.layer.drain().await;
    assert_eq!(world.op.revocations().len(), 0);
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&browser).await, "alice");
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}
