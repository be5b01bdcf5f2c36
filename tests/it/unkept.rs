//! What comes and is not kept: a failure that passes revokes nothing, and a refusal only where revocation reaches one token.

use std::time::Duration;

use tower_oidc::{Account, Config, Connection, EventCode, OidcLayer, Resource, Retention, UserInfo, Verdict};

use crate::single_user::app::{Durable, configured, reads_as};
use crate::support::app::{API, APP, World, routes};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::provider::{Endpoint, RevocationReach};
use crate::support::test_store::TestStore;

/// `mail` and, for visitors, `photos`; UserInfo is always asked.
fn configure(mut config: Config) -> Config {
    let resource = |name: &str| Resource::new(name, format!("{API}/{name}/"));
    config.user_info = UserInfo::Always;
    config.connection(Connection::new("mail").scope("offline_access").resource(resource("mail"))).connection(
        Connection::new("photos")
            .scope("openid")
            .scope("offline_access")
            .resource(resource("photos"))
            .retention(Retention::Session)
            .for_visitors(),
    )
}

fn session_retention(config: Config) -> Config {
    let mut config = configure(config);
    for connection in &mut config.connections {
        connection.retention = Retention::Session;
    }
    config
}

/// A provider at which one revocation ends all that the person has granted, as at Google.
fn worlds() -> [World; 2] {
    let worlds = [World::with(configure), World::stateless_with(session_retention)];
    for world in &worlds {
        world.op.set(|settings| settings.revocation_reach = RevocationReach::User);
    }
    worlds
}

async fn login(browser: &Browser) -> Page {
    browser.visit(&format!("{APP}/auth/login?return_to=/who")).await
}

async fn connect(browser: &Browser, connection: &str) -> Page {
    browser.visit(&format!("{APP}/auth/connect?connection={connection}&return_to=/who")).await
}

/// The provider signs with keys that nobody can read now.
fn hide_keys(world: &World) {
    world.clock.advance(Duration::from_secs(60));
    world.op.rotate_keys();
    world.op.answer(Endpoint::KeySet, 503, "text/plain", "");
}

#[tokio::test]
async fn a_login_that_fails_for_a_moment_revokes_nothing() {
    for world in worlds() {
        let first = world.signed_in("alice").await;
        for status in [500, 503, 429] {
            world.op.answer(Endpoint::UserInfo, status, "text/plain", "");
            let second = world.browser();
            let failed = login(&second).await;
            assert!(failed.status.is_server_error(), "{status}: {}", failed.status);
            assert_eq!(world.op.revocations().len(), 0, "{status}");
            world.op.honest();
        }
        assert!(world.app.events.has(EventCode::TokensDropped));
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(reads_as(&first).await, "alice", "the first browser's grant is alive");
        let second = world.browser();
        assert_eq!(login(&second).await.status, 200, "the control: the provider is well again");
    }
}

#[tokio::test]
async fn a_connection_that_fails_for_a_moment_revokes_nothing() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        hide_keys(&world);
        assert_eq!(connect(&browser, "mail").await.status, 503);
        assert_eq!(connect(&world.browser(), "photos").await.status, 503, "a visitor");
        assert_eq!(world.op.revocations().len(), 0);
        world.op.honest();
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(reads_as(&browser).await, "alice", "the login's own grant is alive");
        assert_eq!(connect(&browser, "mail").await.status, 200, "the control");
        assert_eq!(connect(&world.browser(), "photos").await.status, 200, "the control");
    }
}

#[tokio::test]
async fn in_single_user_mode_a_failure_that_passes_leaves_everybodys_account() {
    let world = World::new();
    world.op.set(|settings| settings.revocation_reach = RevocationReach::User);
    let store = Durable(TestStore::new());
    let edit = |mut config: Config| {
        config.user_info = UserInfo::Always;
        config
    };
    let layer = OidcLayer::single_user(edit(configured(&world)), Account::operator(), store).unwrap();
    world.net.serve_service(APP, layer.layer(routes()));
    let admin = world.signed_in("alice").await;
    let form = Form::post(&format!("{APP}/auth/connect?connection=login&return_to=/who"), &[]);
    let sent = admin.submit_from(APP, &form).await;
    assert_eq!(admin.settle(sent).await.status, 200);
    assert_eq!(reads_as(&world.browser()).await, "alice");
    world.op.answer(Endpoint::UserInfo, 503, "text/plain", "");
    assert_eq!(login(&world.browser()).await.status, 503);
    world.op.honest();
    hide_keys(&world);
    let sent = admin.submit_from(APP, &form).await;
    assert_eq!(admin.settle(sent).await.status, 503, "the account is connected once more");
    world.op.honest();
    assert_eq!(world.op.revocations().len(), 0);
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(reads_as(&world.browser()).await, "alice", "everybody's account is alive");
}

#[tokio::test]
async fn a_veto_revokes_only_where_revocation_reaches_one_token() {
    for per_token in [false, true] {
        let world = World::with(|mut config| {
            config.revocation_is_per_token = per_token;
            config.on_login(|_| async { Verdict::Refuse("no".to_owned()) })
        });
        world.op.sign_in_as("alice");
        assert_eq!(login(&world.browser()).await.status, 403);
        assert_eq!(world.op.revocations().len(), usize::from(per_token));
        assert_eq!(world.app.events.has(EventCode::TokensDropped), !per_token);
    }
}

/// Whoever is another account is refused; what is revoked is for the provider's setting to say.
#[tokio::test]
async fn another_account_is_refused_and_revoked_only_where_revocation_reaches_one_token() {
    for per_token in [false, true] {
        let edit = |config: Config| {
            let mut config = configure(config);
            config.revocation_is_per_token = per_token;
            config
        };
        let world = World::with(edit);
        let browser = world.signed_in("alice").await;
        world.op.sign_in_as("bob");
        assert_eq!(connect(&browser, "mail").await.status, 403);
        assert_eq!(world.op.revocations().len(), usize::from(per_token));
    }
}
