//! What a refresh can come to.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tower_oidc::{Config, EventCode};

use super::{HOUR, PAUSE, code, expired, expired_in};
use crate::support::app::{API, APP, OP, World};
use crate::support::fault::Fault;
use crate::support::provider::Endpoint;
use crate::support::provider::lies::{self, Verdict};

#[tokio::test]
async fn without_a_refresh_token_the_token_serves_to_its_end_and_then_consent_is_needed() {
    let world = World::new();
    world.op.set(|op| op.issue_refresh_tokens = false);
    let alice = world.signed_in("alice").await;
    let token = world.token_of(&alice, "alice").await;
    world.clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(world.tok(&alice).await, (200, token), "nothing can replace it: to its last moment");
    world.clock.advance(Duration::from_millis(1));
    let (status, problem) = world.tok(&alice).await;
    assert_eq!((status, code(&problem).as_str()), (403, "consent_required"), "{problem}");
    assert!(problem.contains("/auth/connect?connection=login&return_to="), "{problem}");
    assert!(world.op.refreshes().is_empty());
    // A page goes to the provider and comes back to itself.
    let page = alice.visit(&format!("{APP}/tok")).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/tok"));
    assert_eq!(world.op.owner_of(&page.text()).as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_token_that_is_still_good_serves_while_refreshes_fail() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let token = world.token_of(&alice, "alice").await;
    world.net.fault(OP, "/token", Fault::Status(503));
    for left in [50, 4, 1] {
        world.clock.advance(Duration::from_secs(world.op.issued(&token).unwrap().expires_at - left) - now(&world));
        assert_eq!(world.tok(&alice).await, (200, token.clone()), "{left} s before its end");
        world.app.layer.drain().await;
    }
    assert!(world.app.events.count(EventCode::RefreshFailed) >= 2);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.tok(&alice).await.0, 503);
    world.net.heal(OP);
    world.clock.advance(PAUSE);
    assert_ne!(world.token_of(&alice, "alice").await, token);
}

fn now(world: &World) -> Duration {
    Duration::from_secs(world.clock.now())
}

#[tokio::test]
async fn a_failed_refresh_ends_the_grant_and_never_the_session() {
    for (error, status) in [("invalid_grant", 403), ("invalid_client", 503)] {
        let (world, alice) = expired().await;
        world.op.answer_error(Endpoint::Refresh, 400, error);
        assert_eq!(world.tok(&alice).await.0, status, "{error}");
        world.op.honest();
        assert_eq!(alice.navigate(&format!("{APP}/who")).await.json()["sub"], "a1");
    }
}

/// Every answer of the table, as often as a provider may give it: what is fatal is fatal at once, and what passes
/// leaves the grant whole. No token of a refused answer is ever used.
#[tokio::test]
async fn only_invalid_grant_is_fatal() {
    for lie in lies::REFRESH {
        let (world, alice) = expired().await;
        let name = lie.name;
        world.op.lie(*lie);
        let (status, said) = world.tok(&alice).await;
        if lie.verdict != Verdict::Refused {
            assert_eq!(status, 200, "{name}: {said}");
            assert_eq!(world.op.owner_of(&said).as_deref(), Some("alice"), "{name}");
            continue;
        }
        // Those that did their work and spoiled the answer: it is asked for once more, which a provider that
        // detects reuse takes for theft.
        let spoiled = name.starts_with("refreshed");
        let fatal = spoiled || name == "refresh invalid_grant";
        assert_eq!(status, if fatal { 403 } else { 503 }, "{name}: {said}");
        assert!(world.op.refreshes().len() <= 2, "{name}: {}", world.op.refreshes().len());
        assert_eq!(world.op.reuse_detected(), usize::from(spoiled), "{name}");
        world.op.honest();
        world.clock.advance(PAUSE);
        assert_eq!(world.tok(&alice).await.0, if fatal { 403 } else { 200 }, "{name}, afterwards");
        world.sign_in(&alice, "alice").await;
        world.token_of(&alice, "alice").await;
    }
}

#[tokio::test]
async fn the_old_refresh_token_is_kept_where_no_new_one_comes() {
    let world = World::new();
    world.op.set(|op| op.rotate_refresh_tokens = false);
    let alice = world.signed_in("alice").await;
    for _ in 0..3 {
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
    }
    let spent: Vec<_> = world.op.refreshes().into_iter().map(|r| r.refresh_token).collect();
    assert_eq!(spent.len(), 3);
    assert!(spent.windows(2).all(|pair| pair[0] == pair[1]), "{spent:?}");
}

#[tokio::test]
async fn the_new_refresh_token_is_the_next_to_be_spent_and_no_cookie_tells() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    for _ in 0..3 {
        world.clock.advance(HOUR);
        let page = alice.navigate(&format!("{APP}/tok")).await;
        assert_eq!((page.status.as_u16(), page.header("set-cookie")), (200, None));
    }
    let spent: Vec<_> = world.op.refreshes().into_iter().filter_map(|r| r.refresh_token).collect();
    let distinct: std::collections::HashSet<_> = spent.iter().collect();
    assert_eq!((spent.len(), distinct.len(), world.op.reuse_detected()), (3, 3, 0));
}

/// Tokens that are refused are revoked.
fn per_token(mut config: Config) -> Config {
    config.provider.revocation_is_per_token = true;
    config
}

/// The answer's tokens are never used, never kept, and revoked; somebody else in it is told apart.
#[tokio::test(start_paused = true)]
async fn a_refreshed_id_token_must_name_the_owner_and_hold() {
    for lie in lies::REFRESHED_ID_TOKEN {
        let (world, alice) = expired_in(World::with(per_token)).await;
        let name = lie.name;
        world.op.lie(*lie);
        let (status, said) = world.tok(&alice).await;
        if lie.verdict == Verdict::Accepted {
            assert_eq!(status, 200, "{name}: {said}");
            continue;
        }
        assert_eq!((status, code(&said).as_str()), (403, "consent_required"), "{name}: {said}");
        let revoked = world.op.revocations();
        assert_eq!((revoked.len(), revoked[0].owner.as_deref()), (1, Some("alice")), "{name}: {revoked:?}");
        assert_eq!(world.op.live_refresh_tokens(), [], "{name}");
        let other = name.contains("sub other");
        assert_eq!(world.app.events.has(EventCode::RefreshOwnerMismatch), other, "{name}");
        // What lies there now is no grant any more, whatever the provider says later.
        world.op.honest();
        world.clock.advance(HOUR);
        assert_eq!(world.tok(&alice).await.0, 403, "{name}");
        assert_eq!(world.op.refreshes().len(), 1, "{name}: not one more request");
        world.sign_in(&alice, "alice").await;
        world.token_of(&alice, "alice").await;
    }
}

#[tokio::test]
async fn an_id_token_need_not_come_with_a_refresh() {
    let world = World::new();
    world.op.set(|op| op.id_token_on_refresh = false);
    let alice = world.signed_in("alice").await;
    let first = world.token_of(&alice, "alice").await;
    world.clock.advance(HOUR);
    assert_ne!(world.token_of(&alice, "alice").await, first);
}

#[tokio::test]
async fn a_refusal_is_asked_for_once_and_a_failure_once_a_second() {
    for (error, status, later) in [("invalid_grant", 403, 1), ("invalid_client", 503, 2)] {
        let (world, alice) = expired().await;
        world.op.answer_error(Endpoint::Refresh, 400, error);
        for (got, said) in world.crowd(&alice, 50).await {
            assert_eq!(got, status, "{error}: {said}");
        }
        for _ in 0..20 {
            assert_eq!(world.tok(&alice).await.0, status);
        }
        assert_eq!(world.op.refreshes().len(), 1, "{error}");
        world.clock.advance(PAUSE);
        assert_eq!(world.tok(&alice).await.0, status);
        assert_eq!(world.op.refreshes().len(), later, "{error}");
    }
}

#[tokio::test]
async fn no_refresh_outlives_the_session() {
    let world = World::with(|mut config| {
        config.absolute_lifetime = 2 * HOUR;
        config.idle_lifetime = 2 * HOUR;
        config
    });
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    world.token_of(&alice, "alice").await;
    world.clock.advance(HOUR);
    assert_eq!(world.tok(&alice).await.0, 401);
    assert_eq!(world.op.refreshes().len(), 1);
}

/// Reuse detection by the provider, or an administrator there, takes the family back: one clean login, no loop.
#[tokio::test]
async fn a_family_that_is_revoked_ends_in_one_new_login() {
    let (world, alice) = expired().await;
    world.op.revoke_grants_of("alice");
    let page = alice.visit(&format!("{APP}/tok")).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/tok"), "{}", page.text());
    assert_eq!((world.op.refreshes().len(), world.op.code_exchanges().len()), (1, 2));
    assert_eq!(world.op.owner_of(&page.text()).as_deref(), Some("alice"));
}

#[tokio::test]
async fn pages_go_to_consent_scripts_get_its_address_and_an_outage_is_neither() {
    let (world, alice) = expired().await;
    world.net.fault(OP, "/token", Fault::Status(503));
    let page = alice.navigate(&format!("{APP}/tok")).await;
    assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("2")), "an outage is no logout");
    world.net.heal(OP);
    world.clock.advance(PAUSE);
    world.token_of(&alice, "alice").await;

    world.clock.advance(HOUR);
    world.op.answer_error(Endpoint::Refresh, 400, "invalid_grant");
    let step = alice.step(&format!("{APP}/tok?x=1")).await;
    let location = step.location().unwrap();
    assert!(location.starts_with("/auth/connect?connection=login&return_to=%2Ftok%3Fx%3D1&proof="), "{location}");
    for _ in 0..20 {
        let answer = alice.fetch(Method::GET, &format!("{APP}/tok"), "", APP).await;
        assert_eq!(answer.status, 403);
        assert!(
            answer.json()["connect_url"].as_str().unwrap().starts_with("/auth/connect?connection=login&"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(world.op.refreshes().len(), 2, "no storm");
}

#[tokio::test]
async fn a_missing_expires_in_means_usable_until_a_401() {
    let world = World::new();
    let strip = |tokens: &mut serde_json::Map<String, serde_json::Value>| drop(tokens.remove("expires_in"));
    world.op.edit_tokens(strip);
    let alice = world.signed_in("alice").await;
    let first = world.token_of(&alice, "alice").await;
    world.clock.advance(HOUR - PAUSE);
    assert_eq!(world.token_of(&alice, "alice").await, first);
    world.clock.advance(PAUSE);
    let fetched = alice.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await;
    assert_eq!(fetched.json()["owner"], "alice");
    assert_eq!(world.op.refreshes().len(), 1, "the API's 401 ends it");
}

/// One call, one refresh: a provider that says 0 does not send us round in circles.
#[tokio::test]
async fn a_token_that_is_over_when_it_comes_is_used_once() {
    let (world, alice) = expired().await;
    world.op.edit_refreshed_tokens(|tokens| drop(tokens.insert("expires_in".to_owned(), json!(0))));
    for n in 1..=3 {
        world.token_of(&alice, "alice").await;
        assert_eq!(world.op.refreshes().len(), n);
    }
}
