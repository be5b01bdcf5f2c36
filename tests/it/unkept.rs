//! What comes and is not kept: a failure that passes revokes nothing, and a refusal only where revocation reaches one token.

use std::time::Duration;

use http::Method;
use tower_oidc::{
    Config, Connection, EventCode, FetchUserInfo, GrantLifetime, LoginDecision, OidcLayer, Resource, SharedAccount,
};

use crate::single_user::app::{Durable, configured, reads_as, reads_as_at, start};
use crate::support::app::{API, APP, OP, World, logout_link, routes};
use crate::support::browser::{Browser, Page};
use crate::support::fault::{Fault, Gate};
use crate::support::html::Form;
use crate::support::provider::{Endpoint, RevocationReach};
use crate::support::store::{Trouble, Verb};
use crate::support::test_store::TestStore;

const MAIL: &str = "https://app.test/fetch?u=https://api.test/mail/";

/// `mail` and, for visitors, `photos`; UserInfo is always asked.
fn configure(mut config: Config) -> Config {
    let resource = |name: &str| Resource::new(name, format!("{API}/{name}/"));
    config.provider.fetch_user_info = FetchUserInfo::Always;
    config.connection(Connection::new("mail").scope("offline_access").resource(resource("mail"))).connection(
        Connection::new("photos")
            .scope("openid")
            .scope("offline_access")
            .resource(resource("photos"))
            .grant_lifetime(GrantLifetime::Session)
            .allow_visitors(),
    )
}

fn session_grants(config: Config) -> Config {
    let mut config = configure(config);
    for connection in &mut config.provider.connections {
        connection.grant_lifetime = GrantLifetime::Session;
    }
    config
}

/// A provider at which one revocation ends all that the person has granted, as at Google.
fn worlds() -> [World; 2] {
    let worlds = [World::with(configure), World::stateless_with(session_grants)];
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
            world.op.answer(Endpoint::FetchUserInfo, status, "text/plain", "");
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
        config.provider.fetch_user_info = FetchUserInfo::Always;
        config
    };
    let layer = OidcLayer::single_user(edit(configured(&world)), SharedAccount::connected_by_admin(), store).unwrap();
    world.net.serve_service(APP, layer.layer(routes()));
    let admin = world.signed_in("alice").await;
    let form = Form::post(&format!("{APP}/auth/connect?connection=login&return_to=/who"), &[]);
    let sent = admin.submit_from(APP, &form).await;
    assert_eq!(admin.settle(sent).await.status, 200);
    assert_eq!(reads_as(&world.browser()).await, "alice");
    world.op.answer(Endpoint::FetchUserInfo, 503, "text/plain", "");
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
            config.provider.revocation_is_per_token = per_token;
            config.on_login(|_| async { LoginDecision::Deny("no".to_owned()) })
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
            config.provider.revocation_is_per_token = per_token;
            config
        };
        let world = World::with(edit);
        let browser = world.signed_in("alice").await;
        world.op.sign_in_as("bob");
        assert_eq!(connect(&browser, "mail").await.status, 403);
        assert_eq!(world.op.revocations().len(), usize::from(per_token));
    }
}

type Edit = fn(&World);

/// What a login brings and will bring again: it is refused.
#[tokio::test]
async fn what_is_refused_is_revoked_only_where_revocation_reaches_one_token() {
    let refusals: [(&str, u16, Edit); 5] = [
        ("no ID token", 400, |world| world.op.edit_tokens(|tokens| drop(tokens.remove("id_token")))),
        ("another nonce", 400, |world| world.op.edit_id_token(|token| token.claim("nonce", "another"))),
        ("another person's UserInfo", 400, |world| {
            world.op.edit_userinfo(|claims| _ = claims.insert("sub".into(), "b1".into()));
        }),
        ("another organisation", 403, |world| world.op.edit_id_token(|token| token.claim("hd", "evil.test"))),
        ("more than can be kept", 502, |world| {
            world.op.edit_id_token(|token| token.claim("much", "x".repeat(300 * 1024)));
        }),
    ];
    for per_token in [false, true] {
        let world = World::with(|config| {
            let mut config = configure(config);
            config.provider.revocation_is_per_token = per_token;
            config.provider.hosted_domain = Some("example.com".into());
            config
        });
        world.op.user("alice", |user| user.set("hd", "example.com"));
        world.signed_in("alice").await;
        for (index, (what, status, edit)) in refusals.iter().enumerate() {
            edit(&world);
            assert_eq!(login(&world.browser()).await.status, *status, "{what}");
            let revoked = if per_token { index + 1 } else { 0 };
            assert_eq!(world.op.revocations().len(), revoked, "{what}, per token {per_token}");
            assert_eq!(world.app.events.count(EventCode::TokensDropped), index + 1 - revoked, "{what}");
            world.op.honest();
        }
        assert!(world.op.revocations().iter().all(|one| one.hint.as_deref() == Some("refresh_token")));
    }
}

/// What fails for a moment is revoked nowhere, however far a revocation reaches.
#[tokio::test]
async fn what_fails_for_a_moment_is_not_revoked_where_revocation_reaches_one_token_either() {
    let world = World::with(|config| config);
    let (watched, app) = world.watched_with(|config| {
        let mut config = configure(config);
        config.provider.revocation_is_per_token = true;
        config
    });
    world.op.answer(Endpoint::FetchUserInfo, 503, "text/plain", "");
    world.op.sign_in_as("alice");
    assert_eq!(login(&world.browser()).await.status, 503);
    world.op.honest();
    // The store goes away between the exchange and the first write.
    let gate = Gate::new();
    world.net.fault(OP, "/userinfo", Fault::Gate(gate.clone()));
    let browser = world.browser();
    let failing = tokio::spawn(async move { login(&browser).await.status });
    gate.wait_for_arrivals(1).await;
    watched.trouble(Verb::Swap, Trouble::Fail);
    gate.open();
    assert_eq!(failing.await.unwrap(), 503);
    assert_eq!((world.op.revocations().len(), app.events.count(EventCode::TokensDropped)), (0, 2));
}

/// The provider signs the person out while they sign in.
#[tokio::test]
async fn a_login_that_is_signed_out_at_once_is_revoked_only_where_revocation_reaches_one_token() {
    for per_token in [false, true] {
        let world = World::with(|config| {
            let mut config = configure(config);
            config.provider.revocation_is_per_token = per_token;
            config
        });
        world.op.sign_in_as("alice");
        let gate = Gate::new();
        world.net.fault(OP, "/userinfo", Fault::Gate(gate.clone()));
        let browser = world.browser();
        let signing_in = tokio::spawn(async move { login(&browser).await.status });
        gate.wait_for_arrivals(1).await;
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
        gate.open();
        assert_eq!(signing_in.await.unwrap(), 400);
        assert_eq!(world.op.revocations().len(), usize::from(per_token));
    }
}

/// The application is deployed anew while an admin is at the provider, who is none any more.
#[tokio::test]
async fn what_is_not_pending_any_more_is_revoked_only_where_revocation_reaches_one_token() {
    for per_token in [false, true] {
        let (world, store) = (World::new(), Durable(TestStore::new()));
        let deploy = |admins: &[&str]| {
            start(&world, SharedAccount::connected_by_admin(), store.clone(), |mut config| {
                config.provider.revocation_is_per_token = per_token;
                config.admins = admins.iter().map(|admin| (*admin).to_owned()).collect();
                config
            })
        };
        deploy(&["alice@example.com"]);
        let admin = world.signed_in("alice").await;
        let form = Form::post(&format!("{APP}/auth/connect?connection=login&return_to=/who"), &[]);
        let gate = Gate::new();
        world.net.fault(OP, "/authorize", Fault::Gate(gate.clone()));
        let granting = tokio::spawn(async move {
            let sent = admin.submit_from(APP, &form).await;
            admin.settle(sent).await.status
        });
        gate.wait_for_arrivals(1).await;
        deploy(&["bob@example.com"]);
        gate.open();
        assert_eq!(granting.await.unwrap(), 400);
        assert_eq!(world.op.revocations().len(), usize::from(per_token));
    }
}

/// A refresh is under way while its session ends.
#[tokio::test]
async fn what_comes_for_a_session_that_is_over_is_revoked_where_its_logout_revokes() {
    for (revoke_at_logout, per_token) in [(false, false), (false, true), (true, false)] {
        let world = World::with(|mut config| {
            (config.provider.revoke_at_logout, config.provider.revocation_is_per_token) = (revoke_at_logout, per_token);
            config
        });
        world.op.set(|settings| settings.revocation_reach = RevocationReach::Token);
        let browser = world.signed_in("alice").await;
        let logout = logout_link(&browser, "/").await;
        let (gate, asking) = refreshing(&world, &browser, "https://app.test/tok").await;
        browser.visit(&logout).await;
        gate.open();
        assert_eq!(asking.await.unwrap(), "unauthenticated");
        world.app.layer.drain().await;
        let left = world.op.live_refresh_tokens().len();
        assert_eq!(left, usize::from(!revoke_at_logout && !per_token), "{revoke_at_logout}, {per_token}");
        assert_eq!(world.app.events.has(EventCode::TokensDropped), left > 0);
    }
}

/// Whatever is kept until it is taken back: what is refused in a refresh was not taken back.
#[tokio::test]
async fn another_owner_in_a_refresh_is_revoked_only_where_revocation_reaches_one_token() {
    for per_token in [false, true] {
        let world = World::with(|config| {
            let mut config = configure(config);
            config.provider.revocation_is_per_token = per_token;
            config
        });
        let browser = world.signed_in("alice").await;
        connect(&browser, "mail").await;
        world.op.edit_refreshed_id_token(|token| token.claim("sub", "b1"));
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(reads_as_at(&browser, MAIL).await, "consent_required");
        assert_eq!(world.op.revocations().len(), usize::from(per_token));
        assert_eq!(world.app.events.has(EventCode::TokensDropped), !per_token);
    }
}

/// The person takes a connection back while it is refreshed: what comes is revoked, whatever is configured.
#[tokio::test]
async fn what_comes_for_a_connection_that_was_taken_back_is_revoked() {
    let world = World::with(configure);
    world.op.set(|settings| settings.revocation_reach = RevocationReach::Token);
    let browser = world.signed_in("alice").await;
    connect(&browser, "mail").await;
    let before = world.op.live_refresh_tokens().len();
    let (gate, asking) = refreshing(&world, &browser, MAIL).await;
    let taken_back = format!("{APP}/auth/disconnect?connection=mail&return_to=/who");
    let answer = browser.fetch(Method::POST, &taken_back, "", APP).await;
    assert!(answer.status.is_success() || answer.status.is_redirection(), "{}", answer.status);
    gate.open();
    assert_eq!(asking.await.unwrap(), "consent_required");
    world.app.layer.drain().await;
    assert_eq!(world.op.live_refresh_tokens().len(), before - 1, "the login's own is there");
    assert!(!world.app.events.has(EventCode::TokensDropped));
}

/// A request in another tab has a token refreshed, and the provider's answer waits.
async fn refreshing(world: &World, browser: &Browser, url: &'static str) -> (Gate, tokio::task::JoinHandle<String>) {
    world.clock.advance(Duration::from_secs(3601));
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let tab = world.browser();
    tab.replace_jar(browser.clone_jar());
    let asking = tokio::spawn(async move { reads_as_at(&tab, url).await });
    gate.wait_for_arrivals(1).await;
    world.net.heal(OP);
    (gate, asking)
}
