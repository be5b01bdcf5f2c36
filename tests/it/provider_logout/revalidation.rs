//! A session lasts as long as the provider confirms it: somebody whom it cuts off is signed out, a claim that it withdraws
//! counts no more, and a provider that is away ends nothing.

use std::time::Duration;

use axum::Json;
use axum::routing::get;
use http::Method;
use serde_json::{Value, json};
use tower_oidc::{ClaimSource, Config, CurrentUser, EventCode, LoginDecision};

use super::{MODES, Mode};
use crate::support::app::{APP, OP, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::Fault;
use crate::support::provider::Endpoint;
use crate::support::store::WatchedStore;

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

/// The request that waits for the provider sees what it says, in the ID token and in a UserInfo that takes its time.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_answered_with_the_new_claims() {
    for (mode, in_id_token) in [(Mode::PerUser, true), (Mode::PerUser, false), (Mode::SingleUser, true)] {
        let world = mode.world(|config| revalidating(config).admins(["alice@example.com"]));
        world.op.set(|op| op.claims_in_id_token = in_id_token);
        let alice = world.signed_in("alice").await;
        assert!(is_admin(&world, &alice).await, "{mode:?}");
        world.op.user("alice", |user| user.set("email_verified", false));
        world.net.fault(OP, "/userinfo", Fault::SlowAnswer(Duration::from_secs(1)));
        world.clock.advance(2 * EVERY);
        assert_eq!(alice.navigate(&format!("{APP}/admin")).await.status, 403, "{mode:?}, {in_id_token}");
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
    world.op.user("alice", |user| {
        user.set("email", "root@example.com");
        user.set("name", "Alicia");
    });
    world.clock.advance(EVERY);
    assert!(!is_admin(&world, &alice).await);
    let page = alice.navigate(&format!("{APP}/who")).await;
    assert_eq!((&page.json()["email"], &page.json()["email_verified"]), (&json!("alice@example.com"), &json!(true)));
    assert_eq!(page.json()["name"], "Alicia", "what it did not verify is new");
    // The control: without a hook the address is the provider's.
    let world = Mode::PerUser.world(revalidating);
    let alice = world.signed_in("alice").await;
    world.op.user("alice", |user| user.set("email", "root@example.com"));
    world.clock.advance(EVERY);
    who_in_the_end(&world, &alice).await;
    world.clock.advance(STALE);
    assert_eq!(alice.navigate(&format!("{APP}/who")).await.json()["email"], "root@example.com");
}

/// What the session says of the person and of the login, once a refresh that is due has ended.
async fn claims_after_a_refresh(world: &World, browser: &Browser) -> Value {
    world.clock.advance(EVERY);
    who_in_the_end(world, browser).await;
    world.clock.advance(STALE);
    browser.navigate(&format!("{APP}/claims")).await.json()
}

fn with_claims(edit: impl FnOnce(Config) -> Config) -> World {
    let world = Mode::PerUser.world(edit);
    let claims = |user: CurrentUser| async move { Json(user.claims::<Value>().unwrap()) };
    world.serve(routes().route("/claims", get(claims)));
    world
}

/// How somebody signed in does not change with a refresh, and a refresh does not say it of a login that did not.
#[tokio::test]
async fn what_is_said_of_the_login_stays() {
    for at_login in [Some(json!(["pwd", "otp"])), None] {
        let world = with_claims(revalidating);
        let amr = at_login.clone();
        world.op.edit_id_token(move |jwt| amr.iter().for_each(|amr| jwt.claim("amr", amr.clone())));
        let alice = world.signed_in("alice").await;
        world.op.edit_refreshed_id_token(|jwt| jwt.claim("amr", json!(["pwd"])));
        world.op.user("alice", |user| user.set("name", "Alicia"));
        let claims = claims_after_a_refresh(&world, &alice).await;
        assert_eq!(claims["amr"], at_login.unwrap_or_default());
        assert_eq!(claims["name"], "Alicia", "the control");
    }
}

/// What UserInfo said after the login, it withdraws as well. (Refreshes bring no ID token.)
#[tokio::test]
async fn what_user_info_does_not_say_any_more_is_gone() {
    let world = with_claims(revalidating);
    world.op.set(|op| (op.claims_in_id_token, op.id_token_on_refresh) = (false, false));
    let alice = world.signed_in("alice").await;
    world.op.user("alice", |user| user.set("nickname", "Al"));
    assert_eq!(claims_after_a_refresh(&world, &alice).await["nickname"], "Al");
    world.op.user("alice", |user| user.unset("nickname"));
    let claims = claims_after_a_refresh(&world, &alice).await;
    assert_eq!((&claims["nickname"], &claims["name"]), (&Value::Null, &json!("Alice")));
}

/// More claims than a session holds are not taken over, and sign nobody out.
#[tokio::test]
async fn more_claims_than_a_session_holds_are_left() {
    for (groups, name) in [(100, "Alicia"), (25_000, "Alice")] {
        let world = with_claims(revalidating);
        world.op.set(|op| op.claims_in_id_token = false);
        let alice = world.signed_in("alice").await;
        world.op.user("alice", |user| {
            user.set("name", "Alicia");
            user.set("groups", vec!["a-group"; groups]);
        });
        assert_eq!(claims_after_a_refresh(&world, &alice).await["name"], name, "{groups}");
        assert_eq!(world.who(&alice).await, "a1", "{groups}");
    }
}

/// However often a session's tokens are refreshed, its row has the same length.
#[tokio::test]
async fn refreshes_do_not_lengthen_a_session() {
    let world = with_claims(revalidating);
    let store = WatchedStore::new(world.app.store.clone());
    let app = Mode::PerUser.app_over(&world, store.clone(), revalidating);
    let world = World { app, ..world };
    let alice = world.signed_in("alice").await;
    let mut lengths = Vec::new();
    for _ in 0..4 {
        world.clock.advance(EVERY);
        assert_eq!(who_in_the_end(&world, &alice).await, "a1");
        lengths.push(store.dump().await.iter().map(|(_, row)| row.record.bytes.len()).sum::<usize>());
    }
    assert_eq!(world.op.refreshes().len(), 4);
    // The first one adds what the login had not.
    assert_eq!(lengths[1], lengths[3], "{lengths:?}");
}

/// What a refreshed ID token leaves out is no other value, and where the login hook decides, nothing is compared.
#[tokio::test]
async fn in_stateless_mode_only_another_value_ends_the_session() {
    type Edit = fn(Config) -> Config;
    let plain: Edit = |config| revalidating(config).admins(["alice@example.com"]);
    let hook: Edit =
        |config| revalidating(config).admins(["alice@example.com"]).on_login(|_| async { LoginDecision::Allow });
    let unset: Edit = |config| config.admins(["alice@example.com"]);
    let plain_without_a_change: fn(&World) = |world| {
        world.op.edit_refreshed_id_token(|jwt| {
            jwt.without("email");
            jwt.without("email_verified");
        });
    };
    let changed: fn(&World) = |world| world.op.user("alice", |user| user.set("email", "ann@example.com"));
    for (why, edit, change, rest) in [
        ("left out", plain, plain_without_a_change, json!("a1")),
        ("the hook decides", hook, changed, json!("a1")),
        ("no revalidation", unset, changed, json!("a1")),
        ("the control", plain, changed, Value::Null),
    ] {
        let world = Mode::Stateless.world(edit);
        let alice = world.signed_in("alice").await;
        change(&world);
        world.clock.advance(Duration::from_secs(3600));
        let answer = alice.fetch(Method::GET, &format!("{APP}/tok"), "", APP).await;
        assert_eq!(answer.status.as_u16(), if rest == Value::Null { 401 } else { 200 }, "{why}");
        world.app.layer.drain().await;
        assert_eq!(world.op.refreshes().len(), 1, "{why}");
        assert_eq!(world.who(&alice).await, rest, "{why}");
    }
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
