//! Opaque access tokens, about which the provider is asked (RFC 7662).

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::{Api, EventCode, LoginDecision};

use super::*;
use crate::support::app::OP;
use crate::support::fault::Fault;
use crate::support::provider::CLIENT_ID;
use crate::support::provider::Endpoint;

const TOKEN: &str = "an-opaque-access-token-of-a-client-0123456789";

fn asking() -> World {
    world(|config| config.api(Api::new(AUDIENCE).introspect_at("default")))
}

impl World {
    /// What the provider says from now on, unless a test says otherwise.
    fn says(&self, edit: impl FnOnce(&mut Value)) {
        let exp = self.clock.now() + 600;
        let mut answer = json!({
            "active": true, "sub": "a1", "client_id": "cli", "scope": "notes.read", "aud": AUDIENCE, "exp": exp,
        });
        edit(&mut answer);
        self.op.answer(Endpoint::Introspection, 200, "application/json", answer.to_string());
    }
}

/// The provider is asked once, as the client that this application is, and again when its answer is old.
#[tokio::test]
async fn an_opaque_token_is_asked_about_and_remembered_for_a_while() {
    let world = asking();
    world.says(|_| ());
    for _ in 0..3 {
        let me = body(&world.api("/api/me", TOKEN).await);
        assert_eq!((&me["sub"], &me["issuer"], &me["client"]), (&json!("a1"), &json!(OP), &json!("cli")));
    }
    let asked = world.op.introspections();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].get("token"), asked[0].get("token_type_hint")), (Some(TOKEN), Some("access_token")));
    let sent = &world.net.requests_to(OP, "/introspect")[0];
    assert!(sent.header("authorization").is_some_and(|header| header.starts_with("Basic ")));
    // Revoked there: accepted here for thirty seconds more.
    world.says(|answer| *answer = json!({ "active": false }));
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.api("/api/me", TOKEN).await.status(), 200);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.api("/api/me", TOKEN).await.status(), 401);
    // A refusal is remembered, too, and no longer than ten seconds.
    assert_eq!(world.api("/api/me", TOKEN).await.status(), 401);
    assert_eq!(world.op.introspections().len(), 2);
    world.says(|_| ());
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.api("/api/me", TOKEN).await.status(), 200);
}

/// What the provider says must be about an access token for this API.
#[tokio::test]
async fn an_answer_about_another_token_is_refused() {
    let edits: [(&str, fn(&mut Value)); 14] = [
        ("not active", |answer| answer["active"] = json!(false)),
        ("active in words", |answer| answer["active"] = json!("true")),
        ("nothing said", |answer| drop(answer.as_object_mut().unwrap().remove("active"))),
        ("another audience", |answer| answer["aud"] = json!(["https://other.test"])),
        ("no audience", |answer| drop(answer.as_object_mut().unwrap().remove("aud"))),
        ("our client id", |answer| answer["aud"] = json!(CLIENT_ID)),
        ("another issuer", |answer| answer["iss"] = json!("https://evil.test")),
        ("over", |answer| answer["exp"] = json!(1)),
        ("not yet", |answer| answer["nbf"] = json!(u64::MAX)),
        ("a refresh token at Keycloak", |answer| answer["typ"] = json!("Refresh")),
        ("a bound token", |answer| answer["cnf"] = json!({ "jkt": "x" })),
        ("another type", |answer| answer["token_type"] = json!("DPoP")),
        ("a client's own", |answer| answer["sub"] = json!("cli")),
        ("nobody's", |answer| drop(answer.as_object_mut().unwrap().remove("sub"))),
    ];
    for (at, (what, edit)) in edits.into_iter().enumerate() {
        let world = asking();
        world.says(edit);
        let answer = world.api("/private", TOKEN).await;
        assert_eq!((answer.status().as_u16(), &body(&answer)["code"]), (401, &json!("invalid_token")), "{what}");
        world.says(|_| ());
        assert_eq!(world.api("/private", &format!("{TOKEN}{at}")).await.status(), 200, "{what}: the control");
    }
    let world = asking();
    world.says(|answer| {
        answer["iss"] = json!(OP);
        answer["aud"] = json!(["x", AUDIENCE]);
        answer["token_type"] = json!("bearer");
        answer["token_use"] = json!("access_token");
        answer["cnf"] = Value::Null;
        answer.as_object_mut().unwrap().remove("exp");
    });
    assert_eq!(world.api("/private", TOKEN).await.status(), 200);
}

/// Both dates have the leeway that those of a JWT have.
#[tokio::test]
async fn the_dates_of_an_answer_have_sixty_seconds_of_leeway() {
    for (name, within, beyond) in [("exp", -59, -60), ("nbf", 60, 61)] {
        for (distance, status) in [(0, 200), (within, 200), (beyond, 401)] {
            let world = asking();
            let date = world.clock.now().saturating_add_signed(distance);
            world.says(|answer| answer[name] = json!(date));
            assert_eq!(world.api("/private", TOKEN).await.status(), status, "{name} {distance} s from now");
        }
    }
}

/// An endpoint that is away, or refuses this application, says nothing about the token: 503, and nothing is remembered.
#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_503() {
    let world = asking();
    for fault in [Fault::Refuse, Fault::Status(401), Fault::Status(500), Fault::Garbage] {
        world.net.fault(OP, "/introspect", fault.clone());
        let answer = world.api("/private", TOKEN).await;
        assert_eq!(answer.status(), 503, "{fault:?}: {:?}", answer.body());
        assert!(answer.headers().contains_key("retry-after"));
        world.net.heal(OP);
    }
    assert!(world.app.events.count(EventCode::ProviderFailed) >= 4);
    world.says(|_| ());
    assert_eq!(world.api("/private", TOKEN).await.status(), 200);
    let without = asking();
    without.op.edit_discovery(|document| drop(document.remove("introspection_endpoint")));
    assert_eq!(without.api("/private", TOKEN).await.status(), 503);
}

/// A JWT of a provider for logins is verified here, whatever an endpoint would say.
#[tokio::test]
async fn a_jwt_is_not_asked_about() {
    let world = asking();
    world.says(|_| ());
    assert_eq!(body(&world.api("/private", &world.token("bob", |_| ())).await)["sub"], "b1");
    let wrong = world.token("bob", |jwt| jwt.claim("aud", "x"));
    assert_eq!(world.api("/private", &wrong).await.status(), 401);
    assert!(world.op.introspections().is_empty());
    let elsewhere = world.token("bob", |jwt| jwt.claim("iss", "https://elsewhere.test"));
    assert_eq!(body(&world.api("/private", &elsewhere).await)["sub"], "a1", "the provider is asked about what it is");
}

/// The hook decides about these, too.
#[tokio::test]
async fn the_hook_decides_about_opaque_tokens() {
    let world = world(|config| {
        config
            .api(Api::new(AUDIENCE).introspect_at("default"))
            .on_bearer(|_| async { LoginDecision::Deny("no".into()) })
    });
    world.says(|_| ());
    assert_eq!(world.api("/private", TOKEN).await.status(), 403);
}
