//! What a provider's refusal of a refresh means: who must act, how often the provider is asked, and what an operator reads.

use std::time::Duration;

use http::HeaderValue;
use http::header::RETRY_AFTER;
use serde_json::Value;
use tower_oidc::EventCode;

use super::{HOUR, PAUSE, code, expired};
use crate::support::app::{APP, World};
use crate::support::browser::Browser;
use crate::support::net::answer;
use crate::support::provider::Endpoint;

const MINUTE: Duration = Duration::from_secs(60);

fn problem(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_default()
}

/// A world whose access tokens live for a minute. The first is over.
async fn short() -> (World, Browser) {
    let world = World::new();
    world.op.set(|op| op.access_token_lifetime = 60);
    let alice = world.signed_in("alice").await;
    world.clock.advance(MINUTE);
    (world, alice)
}

#[tokio::test]
async fn the_person_comes_where_the_provider_wants_to_see_them() {
    for error in ["invalid_grant", "interaction_required", "login_required", "consent_required"] {
        let (world, alice) = expired().await;
        world.op.answer_error(Endpoint::Refresh, 400, error);
        let (status, said) = world.tok(&alice).await;
        assert_eq!((status, code(&said).as_str()), (403, "consent_required"), "{error}");
        assert!(problem(&said)["connect_url"].is_string(), "{error}: {said}");
        assert_eq!(world.app.events.count(EventCode::RefreshRefused), 1, "{error}");
        let page = alice.visit(&format!("{APP}/tok")).await;
        assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/tok"), "{error}");
        assert_eq!(world.op.refreshes().len(), 1, "{error}");
        // The control: what came of the consent is refreshed as ever.
        world.op.honest();
        world.clock.advance(HOUR);
        world.token_of(&alice, "alice").await;
    }
}

#[tokio::test]
async fn a_person_is_asked_once_and_then_told() {
    let (world, alice) = short().await;
    world.op.answer_error(Endpoint::Refresh, 400, "interaction_required");
    let page = alice.visit(&format!("{APP}/tok")).await;
    assert_eq!(page.status, 200, "the first refusal leads to the provider and back");
    world.clock.advance(MINUTE);
    let page = alice.navigate(&format!("{APP}/tok")).await;
    assert_eq!(page.status, 403, "{}", page.text());
    assert!(page.text().contains("right after you had granted it"), "{}", page.text());
    let (status, said) = world.tok(&alice).await;
    assert_eq!((status, code(&said).as_str()), (403, "consent_required"), "{said}");
    assert!(problem(&said)["connect_url"].is_null(), "no way that would not help: {said}");
    // After ten minutes another consent may help.
    world.clock.advance(10 * MINUTE);
    let step = alice.step(&format!("{APP}/tok")).await;
    assert!(step.location().unwrap_or_default().starts_with("/auth/connect?"), "{}", step.status);
}

/// The control: two refusals that are far apart are two consents.
#[tokio::test]
async fn refusals_that_are_far_apart_are_asked_about_each_time() {
    let (world, alice) = short().await;
    for _ in 0..2 {
        world.op.answer_error(Endpoint::Refresh, 400, "interaction_required");
        let page = alice.visit(&format!("{APP}/tok")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        world.clock.advance(11 * MINUTE);
    }
    assert_eq!(world.op.code_exchanges().len(), 3);
}

#[tokio::test]
async fn the_registration_is_the_operators_and_the_grant_is_kept() {
    for (status, error) in [
        (401, "invalid_client"),
        (400, "unauthorized_client"),
        (400, "invalid_scope"),
        (400, "unsupported_grant_type"),
        (400, "invalid_request"),
    ] {
        let (world, alice) = expired().await;
        world.op.answer_error(Endpoint::Refresh, status, error);
        let (got, said) = world.tok(&alice).await;
        assert_eq!((got, code(&said).as_str()), (503, "operator_action_required"), "{error}: {said}");
        let told = world.app.events.all().into_iter().find(|event| event.code == EventCode::RefreshFailed);
        let told = told.unwrap().detail;
        assert!(told.contains(error) && told.contains("the operator must"), "{error}: {told}");
        world.op.honest();
        world.clock.advance(PAUSE);
        world.token_of(&alice, "alice").await;
    }
}

/// A provider says nothing of use: it is asked less and less often, and after a day the person is.
#[tokio::test]
async fn an_unclear_refusal_counts_as_an_outage_and_after_a_day_as_the_persons() {
    for (status, body) in [
        (403, r#"{"error":"access_denied"}"#),
        (401, r#"{"error":"invalid_token"}"#),
        (400, r#"{"error":"of_its_own"}"#),
        (401, ""),
        (400, ""),
    ] {
        let (world, alice) = expired().await;
        world.op.answer(Endpoint::Refresh, status, "application/json", body);
        let (got, said) = world.tok(&alice).await;
        assert_eq!((got, code(&said).as_str()), (503, "unavailable"), "{status} {body}: {said}");
        let told = world.app.events.all().into_iter().find(|event| event.code == EventCode::RefreshFailed);
        let told = told.unwrap().detail;
        assert!(told.contains(&format!("https://op.test/token (client_secret_basic) answered {status}")), "{told}");
        // Asked every second for an hour: 1, 2, 4, … 256 s of pause, then 300 s each.
        for _ in 0..3600 {
            world.clock.advance(Duration::from_secs(1));
            assert_eq!(world.tok(&alice).await.0, 503, "{status} {body}");
        }
        let asked = world.op.refreshes().len();
        assert!((18..=21).contains(&asked), "{status} {body}: {asked}");
        // The control: as soon as it is asked again and gives tokens, nothing was lost.
        world.clock.advance(21 * HOUR);
        let (got, said) = world.tok(&alice).await;
        assert_eq!((got, code(&said).as_str()), (503, "unavailable"), "{status} {body}, within a day: {said}");
        // The session was used, and this is written before the clock moves past the idle time.
        world.app.layer.drain().await;
        world.clock.advance(3 * HOUR);
        let (got, said) = world.tok(&alice).await;
        assert_eq!((got, code(&said).as_str()), (403, "consent_required"), "{status} {body}, a day later: {said}");
    }
}

/// What is no answer at all in between does not begin the day anew; tokens in between do.
#[tokio::test]
async fn a_day_of_unclear_refusals_is_not_begun_anew_by_an_outage() {
    for (works, expected) in [(false, "consent_required"), (true, "unavailable")] {
        let (world, alice) = expired().await;
        world.op.answer(Endpoint::Refresh, 400, "text/plain", "");
        assert_eq!(world.tok(&alice).await.0, 503);
        for round in 0..4 {
            world.clock.advance(7 * HOUR);
            match (round, works) {
                (1, true) => world.op.honest(),
                (1, false) => world.op.answer(Endpoint::Refresh, 500, "text/plain", ""),
                _ => world.op.answer(Endpoint::Refresh, 400, "text/plain", ""),
            }
            let (status, said) = world.tok(&alice).await;
            if round == 3 {
                assert_eq!(code(&said), expected, "{said}");
            } else {
                assert_eq!(status == 200, (round, works) == (1, true), "{round}: {said}");
            }
            // The session was used, and this is written before the clock moves past the idle time.
            world.app.layer.drain().await;
        }
    }
}

#[tokio::test]
async fn an_unclear_refusal_that_ends_costs_nothing() {
    let (world, alice) = expired().await;
    world.op.answer(Endpoint::Refresh, 400, "text/plain", "");
    for _ in 0..3 {
        assert_eq!(world.tok(&alice).await.0, 503);
        world.clock.advance(10 * MINUTE);
    }
    world.op.honest();
    world.token_of(&alice, "alice").await;
    // What was counted is forgotten: a day later it is the first refusal again.
    for round in 1..=4 {
        world.clock.advance(7 * HOUR);
        assert_eq!(world.who(&alice).await, "a1", "{round}");
        world.app.layer.drain().await;
    }
    world.op.answer(Endpoint::Refresh, 400, "text/plain", "");
    assert_eq!(world.tok(&alice).await.0, 503);
    world.op.honest();
    world.clock.advance(PAUSE);
    world.token_of(&alice, "alice").await;
}

/// The pause is noted with the grant: another process keeps to it as well.
#[tokio::test]
async fn retry_after_is_honoured_by_every_process() {
    let (world, alice) = expired().await;
    let _replica = world.replica();
    let mut busy = answer(429, "");
    busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
    world.op.answer_with(Endpoint::Refresh, busy);
    let page = alice.navigate(&format!("{APP}/tok")).await;
    assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("60")));
    world.op.honest();
    world.clock.advance(Duration::from_secs(59));
    for origin in [APP, super::REPLICA] {
        assert_eq!(world.tok_at(origin, &alice).await.0, 503, "{origin}");
    }
    assert_eq!(world.op.refreshes().len(), 1, "it is left alone");
    let page = alice.navigate(&format!("{APP}/tok")).await;
    assert_eq!(page.header("retry-after"), Some("2"), "what is left, and no less than ever");
    world.clock.advance(Duration::from_secs(1));
    world.token_of(&alice, "alice").await;
}
