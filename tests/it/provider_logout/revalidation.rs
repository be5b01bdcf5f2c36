//! A session lasts as long as the provider confirms it: somebody whom it cuts off is signed out, a claim that it withdraws
//! counts no more, and a provider that is away ends nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::{ClaimSource, Config, EventCode, LoginDecision};

use super::{MODES, Mode};
use crate::support::app::{APP, World};
use crate::support::browser::Browser;
use crate::support::provider::Endpoint;

const MINUTE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(10 * 60);
/// Nobody believes for longer what they were told before.
const STALE: Duration = Duration::from_secs(3);

/// Who has the role `boss` there is an admin.
fn admin_by_role(mut config: Config, from: ClaimSource, at: &str) -> Config {
    config.provider = config.provider.roles(from, at);
    config.admin_roles(["boss"])
}

fn revalidating(config: Config) -> Config {
    config.revalidate_every(EVERY)
}

/// The same application as another process, at an address of its own.
fn replica(mode: Mode, world: &World) -> crate::support::app::App {
    let app = mode.app(world, revalidating);
    world.net.serve_service("https://replica.test", app.layer.layer(crate::support::app::routes()));
    world.net.serve_service(APP, world.app.layer.layer(crate::support::app::routes()));
    app
}

async fn who_at_replica(world: &World, browser: &Browser) -> Value {
    let answer = world.ask("https://replica.test", browser, "/who").await.unwrap();
    serde_json::from_slice::<Value>(answer.body()).unwrap()["sub"].clone()
}

/// What the person is told, once what the request began has ended.
async fn who_in_the_end(world: &World, browser: &Browser) -> Value {
    world.who(browser).await;
    world.app.layer.drain().await;
    world.who(browser).await
}

#[tokio::test]
async fn a_user_whom_the_provider_cuts_off_is_signed_out_everywhere() {
    for mode in MODES {
        let world = mode.world(revalidating);
        let _replica = replica(mode, &world);
        let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
        world.op.revoke_grants_of("alice");
        world.clock.advance(EVERY - MINUTE);
        assert_eq!(who_in_the_end(&world, &alice).await, "a1", "{mode:?}: it is not time yet");
        assert!(world.op.refreshes().is_empty(), "{mode:?}");
        world.clock.advance(2 * MINUTE);
        assert_eq!(who_in_the_end(&world, &alice).await, Value::Null, "{mode:?}");
        world.clock.advance(STALE);
        assert_eq!(who_at_replica(&world, &alice).await, Value::Null, "{mode:?}");
        let ended: Vec<_> =
            world.app.events.all().into_iter().filter(|event| event.code == EventCode::LoggedOut).collect();
        assert_eq!(ended.len(), 1, "{mode:?}");
        assert!(ended[0].detail.contains("did not renew the grant of the login"), "{}", ended[0].detail);
        // The control: whom the provider confirms goes on, at both.
        assert_eq!(who_in_the_end(&world, &bob).await, "b1", "{mode:?}");
        assert_eq!(who_at_replica(&world, &bob).await, "b1", "{mode:?}");
    }
}

/// The control: without the setting a session lasts by itself.
#[tokio::test]
async fn without_the_setting_the_provider_is_not_asked() {
    for mode in MODES {
        let world = mode.world(|config| config);
        let alice = world.signed_in("alice").await;
        world.op.revoke_grants_of("alice");
        world.clock.advance(Duration::from_secs(3000));
        assert_eq!(who_in_the_end(&world, &alice).await, "a1", "{mode:?}");
        assert!(world.op.refreshes().is_empty(), "{mode:?}");
    }
}

#[tokio::test]
async fn after_a_long_absence_the_first_request_waits_for_the_provider() {
    for mode in MODES {
        let world = mode.world(revalidating);
        let alice = world.signed_in("alice").await;
        let bob = world.signed_in("bob").await;
        world.op.revoke_grants_of("alice");
        world.clock.advance(2 * EVERY);
        assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
        assert_eq!(world.who(&bob).await, "b1", "{mode:?}: the control");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_ends_nothing() {
    for mode in MODES {
        let world = mode.world(revalidating);
        let alice = world.signed_in("alice").await;
        for (status, error) in [(503, "temporarily_unavailable"), (401, "invalid_client"), (429, "slow_down")] {
            world.op.answer_error(Endpoint::Refresh, status, error);
            for _ in 0..30 {
                world.clock.advance(MINUTE);
                assert_eq!(who_in_the_end(&world, &alice).await, "a1", "{mode:?}, {status}");
            }
        }
        assert!(!world.app.events.has(EventCode::LoggedOut), "{mode:?}");
        world.op.honest();
        world.clock.advance(10 * MINUTE);
        world.op.revoke_grants_of("alice");
        assert_eq!(who_in_the_end(&world, &alice).await, Value::Null, "{mode:?}: it is asked again");
    }
}

/// However many requests and processes there are, the provider is asked once each time.
#[tokio::test]
async fn the_provider_is_asked_once_for_all() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        let world = mode.world(revalidating);
        let replica = replica(mode, &world);
        let alice = world.signed_in("alice").await;
        for round in 1..=5 {
            world.clock.advance(EVERY + Duration::from_secs(1));
            for _ in 0..20 {
                assert_eq!(world.who(&alice).await, "a1", "{mode:?}");
                assert_eq!(who_at_replica(&world, &alice).await, "a1", "{mode:?}");
            }
            world.app.layer.drain().await;
            replica.layer.drain().await;
            let asked = world.op.refreshes().iter().filter(|asked| asked.refresh_token.is_some()).count();
            assert_eq!(asked, round, "{mode:?}");
        }
        assert_eq!(world.op.reuse_detected(), 0, "{mode:?}");
    }
}

async fn is_admin(world: &World, browser: &Browser) -> bool {
    world.who(browser).await;
    world.app.layer.drain().await;
    world.clock.advance(STALE);
    browser.navigate(&format!("{APP}/admin")).await.status == 200
}

/// From the ID token, or from UserInfo.
#[tokio::test]
async fn a_role_that_is_withdrawn_counts_no_more() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        for in_id_token in [true, false] {
            for gone in [Some(json!(["user"])), None] {
                let boss = |config: Config| {
                    let nobody: [&str; 0] = [];
                    let at = if in_id_token { ClaimSource::IdToken } else { ClaimSource::UserInfo };
                    admin_by_role(revalidating(config).admins(nobody), at, "/roles")
                };
                let world = mode.world(boss);
                world.op.set(|op| op.claims_in_id_token = in_id_token);
                world.op.user("alice", |user| user.set("roles", json!(["boss", "user"])));
                let alice = world.signed_in("alice").await;
                assert!(is_admin(&world, &alice).await, "{mode:?}");
                world.op.user("alice", |user| match &gone {
                    Some(roles) => user.set("roles", roles.clone()),
                    None => user.unset("roles"),
                });
                world.clock.advance(EVERY);
                assert!(!is_admin(&world, &alice).await, "{mode:?}, {in_id_token}, {gone:?}");
                assert_eq!(world.who(&alice).await, "a1", "{mode:?}: and is still signed in");
                // The control: it is given again.
                world.op.user("alice", |user| user.set("roles", json!(["boss"])));
                world.clock.advance(EVERY);
                assert!(is_admin(&world, &alice).await, "{mode:?}, {in_id_token}, {gone:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_is_not_verified_any_more_makes_no_admin() {
    let world = Mode::PerUser.world(|config| revalidating(config).admins(["alice@example.com"]));
    let alice = world.signed_in("alice").await;
    assert!(is_admin(&world, &alice).await);
    world.op.user("alice", |user| user.set("email_verified", false));
    world.clock.advance(EVERY);
    assert!(!is_admin(&world, &alice).await);
}

/// What the application itself says of somebody is not the provider's to withdraw.
#[tokio::test]
async fn what_the_login_hook_said_stays() {
    let hook = |config: Config| {
        admin_by_role(revalidating(config), ClaimSource::LoginHook, "/rank").on_login(|_| async {
            LoginDecision::AllowWith(json!({ "rank": "boss" }).as_object().cloned().unwrap_or_default())
        })
    };
    let world = Mode::PerUser.world(hook);
    let alice = world.signed_in("alice").await;
    world.op.user("alice", |user| user.set("name", "Alicia"));
    world.clock.advance(EVERY);
    assert!(is_admin(&world, &alice).await);
    let page = alice.navigate(&format!("{APP}/who")).await;
    assert_eq!(page.json()["name"], "Alicia", "what the provider says is new");
}

/// A provider that sends neither an ID token nor UserInfo withdraws nothing.
#[tokio::test]
async fn what_a_refresh_does_not_bring_stays() {
    let world = Mode::PerUser.world(|config| revalidating(config).admins(["alice@example.com"]));
    world.op.set(|op| op.id_token_on_refresh = false);
    let alice = world.signed_in("alice").await;
    world.op.user("alice", |user| user.set("email_verified", false));
    world.clock.advance(EVERY);
    assert!(is_admin(&world, &alice).await);
    assert_eq!(world.op.refreshes().len(), 1, "it was asked");
}

/// UserInfo that cannot be had now withdraws nothing, and is asked again with the next refresh.
#[tokio::test]
async fn user_info_that_is_away_withdraws_nothing() {
    let world = Mode::PerUser.world(|config| revalidating(config).admins(["alice@example.com"]));
    world.op.set(|op| op.claims_in_id_token = false);
    let alice = world.signed_in("alice").await;
    assert!(is_admin(&world, &alice).await);
    world.op.user("alice", |user| user.set("email_verified", false));
    world.op.answer_error(Endpoint::FetchUserInfo, 503, "temporarily_unavailable");
    world.clock.advance(EVERY);
    assert!(is_admin(&world, &alice).await);
    world.op.honest();
    world.clock.advance(EVERY);
    assert!(!is_admin(&world, &alice).await, "the control");
}

/// The browser keeps the claims: whoever would be another one by them signs in again.
#[tokio::test]
async fn in_stateless_mode_a_changed_role_ends_the_session() {
    let boss = |config: Config| admin_by_role(revalidating(config), ClaimSource::IdToken, "/roles");
    let world = Mode::Stateless.world(boss);
    world.op.user("alice", |user| user.set("roles", json!(["boss"])));
    let alice = world.signed_in("alice").await;
    world.clock.advance(EVERY);
    assert!(is_admin(&world, &alice).await, "the control: nothing has changed");
    world.op.user("alice", |user| user.set("roles", json!(["user"])));
    world.clock.advance(EVERY);
    assert_eq!(who_in_the_end(&world, &alice).await, Value::Null);
}

/// The same by an address, and where no handler has looked at the claims.
#[tokio::test]
async fn in_stateless_mode_a_changed_address_ends_the_session() {
    for (claim, value) in [("email_verified", json!(false)), ("email", json!("ann@example.com"))] {
        let world = Mode::Stateless.world(|config| revalidating(config).admins(["alice@example.com"]));
        let alice = world.signed_in("alice").await;
        // Another spelling of the same is no change.
        world.op.user("alice", |user| user.set("email_verified", "true"));
        world.clock.advance(EVERY);
        assert_eq!(who_in_the_end(&world, &alice).await, "a1", "{claim}");
        world.op.user("alice", |user| user.set(claim, value.clone()));
        world.clock.advance(EVERY);
        assert_eq!(world.who(&alice).await, Value::Null, "{claim}: also for the request that waited");
    }
}

/// The request that waits for the provider sees what it says.
#[tokio::test]
async fn a_request_that_waits_is_answered_with_the_new_claims() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        let world = mode.world(|config| revalidating(config).admins(["alice@example.com"]));
        let alice = world.signed_in("alice").await;
        assert!(is_admin(&world, &alice).await, "{mode:?}");
        world.op.user("alice", |user| user.set("email_verified", false));
        world.clock.advance(2 * EVERY);
        assert_eq!(alice.navigate(&format!("{APP}/admin")).await.status, 403, "{mode:?}");
        assert_eq!(world.who(&alice).await, "a1", "{mode:?}");
    }
}

/// An address that the hook has verified is not exchanged for another one.
#[tokio::test]
async fn what_the_hook_verified_lends_nothing_to_another_address() {
    let hook = |config: Config| {
        revalidating(config).admins(["root@example.com"]).on_login(|_| async {
            LoginDecision::AllowWith(json!({ "email_verified": true }).as_object().cloned().unwrap_or_default())
        })
    };
    let world = Mode::PerUser.world(hook);
    let alice = world.signed_in("alice").await;
    world.op.user("alice", |user| user.set("email", "root@example.com"));
    world.clock.advance(EVERY);
    assert!(!is_admin(&world, &alice).await);
    let page = alice.navigate(&format!("{APP}/who")).await;
    assert_eq!((&page.json()["email"], &page.json()["email_verified"]), (&json!("alice@example.com"), &json!(true)));
}

/// In single-user mode the login's own grant is kept for this alone, and ends with the session.
#[tokio::test]
async fn a_logout_ends_the_grant_of_the_login() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        let world = mode.world(|mut config| {
            config.provider.revoke_at_logout = true;
            revalidating(config)
        });
        let alice = world.signed_in("alice").await;
        let link = crate::support::app::logout_link(&alice, "/who").await;
        alice.visit(&link).await;
        world.app.layer.drain().await;
        assert!(world.op.live_refresh_tokens().iter().all(|(_, user)| user != "alice"), "{mode:?}");
    }
}

#[test]
fn what_could_not_work_is_refused() {
    let refused = |edit: fn(&mut Config)| {
        let (net, clock) = (crate::support::net::Net::new(), crate::support::clock::TestClock::new());
        let mut config = crate::support::app::config(&net, &clock);
        edit(&mut config);
        let layer = tower_oidc::OidcLayer::per_user(config, tower_oidc::store::MemoryStore::new());
        layer.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|config| config.revalidate_every = Some(MINUTE)), "");
    assert!(refused(|config| config.revalidate_every = Some(MINUTE / 2)).contains("shorter than a minute"));
    let persistent = refused(|config| {
        config.revalidate_every = Some(MINUTE);
        config.login_grant_lifetime = tower_oidc::GrantLifetime::Persistent;
    });
    assert!(persistent.contains("login_grant_lifetime"), "{persistent}");
}

#[tokio::test]
async fn a_login_without_a_refresh_token_is_asked_for_consent_once_and_then_refused() {
    for mode in MODES {
        let world = mode.world(revalidating);
        world.op.set(|op| op.issue_refresh_tokens = false);
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.status, 502, "{mode:?}: {}", page.text());
        assert_eq!(world.who(&browser).await, Value::Null, "{mode:?}");
        let asked = world.op.authorizations();
        let prompts: Vec<_> = asked.iter().map(|asked| asked.params.get("prompt").map(ToString::to_string)).collect();
        assert_eq!(prompts, [None, Some("consent".to_owned())], "{mode:?}");
        let refused = world.app.events.all().into_iter().rfind(|event| event.code == EventCode::LoginRefused);
        assert!(refused.unwrap().detail.contains("offline_access"), "{mode:?}");
    }
}

/// Google's way: with the first consent, and with each that is asked for.
#[tokio::test]
async fn a_refresh_token_that_comes_with_a_consent_alone_is_enough() {
    for mode in MODES {
        let world = mode.world(revalidating);
        world.op.set(|op| op.refresh_token_once = true);
        for _ in 0..2 {
            let alice = world.signed_in("alice").await;
            world.clock.advance(2 * EVERY);
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}");
        }
    }
}
