//! What an ID token says, who signed it, and its text.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::{Config, GrantLifetime};

use super::{accepted_when, attempt, is_in, refused_when, walk};
use crate::support::app::{API, APP, OP, World};
use crate::support::browser::{Browser, Page};
use crate::support::fault::{Fault, Gate};
use crate::support::provider::jwt::{Draft, Seal};
use crate::support::provider::keys::{Alg, Key};
use crate::support::provider::lies::{CLAIMS, SIGNATURE, TEXT};

/// 400 is the person's page; what is too large to be read was never an answer.
pub(super) fn status(lie: &str) -> u16 {
    if lie == "id_token huge" { 503 } else { 400 }
}

#[tokio::test]
async fn claims_that_lie() {
    walk(CLAIMS, |config| config, status).await;
}

#[tokio::test]
async fn signatures_that_lie() {
    walk(SIGNATURE, |config| config, status).await;
}

#[tokio::test]
async fn texts_that_are_no_id_token() {
    walk(TEXT, |config| config, status).await;
}

/// Those that the scenario names, in its order.
#[tokio::test]
async fn bad_id_tokens() {
    for lie in [
        "signature spoiled",
        "alg none",
        "iss wrong",
        "aud wrong",
        "aud with another, no azp",
        "exp beyond the skew",
        "iat beyond the skew",
        "nonce wrong",
        "nonce missing",
    ] {
        refused_when(lie, 400, |world| world.op.lie(lie)).await;
    }
    accepted_when("no lie", |_| ()).await;
}

#[tokio::test]
async fn further_audiences_need_trust_and_azp() {
    let login = async |azp: Option<&'static str>, trusted: bool| {
        let world = World::with(|mut config| {
            config.provider.trusted_audiences = if trusted { vec!["other-app".to_owned()] } else { Vec::new() };
            config
        });
        world.op.edit_id_token(move |jwt| {
            jwt.claim("aud", json!(["app", "other-app"]));
            azp.into_iter().for_each(|azp| jwt.claim("azp", azp));
        });
        is_in(&attempt(&world).await.1)
    };
    assert!(login(Some("app"), true).await);
    assert!(!login(Some("app"), false).await, "nobody trusts the other one");
    assert!(!login(None, true).await, "several audiences and no authorized party");
    assert!(!login(Some("other-app"), true).await, "issued to somebody else");
}

/// Sixty seconds and not one more, while the answer is on its way and a clock is corrected.
#[tokio::test]
async fn the_leeway_is_sixty_seconds_exactly() {
    async fn login(claim: &'static str, offset: i64, shift: i64) -> bool {
        let world = World::new();
        world.op.edit_id_token(move |jwt: &mut Draft| {
            let now = jwt.now();
            if claim != "iat" {
                jwt.claim("iat", now - 300);
            }
            jwt.claim(claim, now + offset);
        });
        let gate = Gate::new();
        world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
        let shifting = async {
            gate.wait_for_arrivals(1).await;
            match u64::try_from(shift) {
                Ok(forward) => world.clock.advance(Duration::from_secs(forward)),
                Err(_) => world.clock.rewind(Duration::from_secs(shift.unsigned_abs())),
            }
            gate.open();
        };
        let ((_, page), ()) = tokio::join!(attempt(&world), shifting);
        is_in(&page)
    }
    for (claim, offset, last, first_beyond) in [("exp", 100, 159, 160), ("iat", 0, -60, -61), ("nbf", 0, -60, -61)] {
        assert!(login(claim, offset, last).await, "{claim} within the leeway");
        assert!(!login(claim, offset, first_beyond).await, "{claim} beyond the leeway");
    }
}

/// The ID token of one login brought to the next: everything about it holds, but its nonce.
#[tokio::test]
async fn an_id_token_is_not_replayed() {
    let world = World::new();
    world.op.edit_id_token(|jwt| jwt.without("at_hash"));
    let first: Arc<Mutex<Option<Value>>> = Arc::default();
    world.op.edit_tokens(move |tokens| {
        let first = first.lock().unwrap().get_or_insert_with(|| tokens["id_token"].clone()).clone();
        tokens.insert("id_token".to_owned(), first);
    });
    assert!(is_in(&attempt(&world).await.1), "the first time it is the login's own");
    assert!(!is_in(&attempt(&world).await.1), "the second time it is a replay");
}

/// The access token of one login brought to another: only `at_hash` can tell.
#[tokio::test]
async fn the_access_token_is_the_one_that_is_hashed() {
    for alg in Alg::ALL {
        let swap = |world: &World| {
            world.op.set(|s| s.signing = alg);
            world.op.edit_tokens(|tokens| drop(tokens.insert("access_token".to_owned(), json!("at_other"))));
        };
        refused_when(alg.name(), 400, swap).await;
        accepted_when("at_hash fits the other one", |world| {
            swap(world);
            world.op.edit_id_token(move |jwt| jwt.claim("at_hash", alg.half_hash("at_other")));
        })
        .await;
    }
}

/// The specification names no hash for EdDSA. Its providers use two.
#[tokio::test]
async fn an_at_hash_of_eddsa_is_of_either_kind() {
    for alg in [Alg::EdDsa, Alg::Ed25519, Alg::Rs384] {
        let swap = |world: &World| {
            world.op.set(|s| s.signing = alg);
            world.op.edit_tokens(|tokens| drop(tokens.insert("access_token".to_owned(), json!("at_other"))));
            world.op.edit_id_token(|jwt| jwt.claim("at_hash", Alg::Es256.half_hash("at_other")));
        };
        match alg {
            Alg::Rs384 => refused_when("RS384", 400, swap).await,
            _ => drop(accepted_when(alg.name(), swap).await),
        }
    }
}

#[tokio::test]
async fn accepted_algorithms_sign_people_in() {
    for alg in Alg::ALL {
        let told = |world: &World| world.op.set(|s| s.signing = alg);
        accepted_when(alg.name(), told).await;
        refused_when(alg.name(), 400, |world| {
            told(world);
            world.op.edit_id_token(|jwt| jwt.seal = Seal::Spoiled(jwt.key()));
        })
        .await;
    }
}

/// An announcement does not make them acceptable.
#[tokio::test]
async fn none_and_hmac_are_refused_even_when_announced() {
    for lie in [
        "alg none",
        "alg nOnE",
        "alg none, without a kid",
        "alg unheard of",
        "HS256 with the client secret",
        "HS256 with the public key",
        "HS256 with no key",
    ] {
        refused_when(lie, 400, |world| {
            world.op.lie(lie);
            world.op.edit_discovery(|document| {
                let algorithms = json!(["none", "nOnE", "HS256", "XX999", "RS256"]);
                document.insert("id_token_signing_alg_values_supported".to_owned(), algorithms);
            });
        })
        .await;
    }
}

/// OpenID Connect Core 10.1: with several keys a token must name its own. Nothing is guessed.
#[tokio::test]
async fn a_token_without_kid_has_one_key_or_none() {
    refused_when("kid absent, several keys", 400, |world| world.op.lie("kid absent, several keys")).await;
    accepted_when("kid absent, one key of its type", |world| {
        world.op.set(|s| s.also_publish = vec![Alg::Es256, Alg::EdDsa]);
        world.op.edit_id_token(|jwt| drop(jwt.header.remove("kid")));
    })
    .await;
    accepted_when("two keys of one kid and different types", |world| {
        world.op.edit_key_set(|set| {
            let mut other = Key { alg: Alg::Es256, generation: 1 }.jwk();
            other["kid"] = set["keys"][0]["kid"].clone();
            set["keys"].as_array_mut().unwrap().insert(0, other);
        });
    })
    .await;
}

/// A number that is no whole one, or further away than time goes, is read as a date or refused: never a panic.
#[tokio::test]
async fn odd_numbers() {
    for lie in ["exp a fraction", "exp beyond all time"] {
        accepted_when(lie, |world| world.op.lie(lie)).await;
    }
}

#[tokio::test]
async fn no_email() {
    let world = World::with(|mut config: Config| {
        config.admins = vec!["alice@example.com".to_owned()];
        config
    });
    let admin = |page: &Page| page.json()["admin"] == true;
    let page = attempt(&world).await.1;
    assert!(is_in(&page) && admin(&page), "the control: {}", page.text());
    world.op.user("alice", |user| user.unset("email"));
    let page = attempt(&world).await.1;
    assert!(is_in(&page) && !admin(&page) && page.json()["email"].is_null(), "{}", page.text());
    world.op.lie("email no string");
    let page = attempt(&world).await.1;
    assert!(is_in(&page) && !admin(&page) && page.json()["email"].is_null(), "{}", page.text());
}

#[tokio::test]
async fn identity_by_sub() {
    for grant_lifetime in [GrantLifetime::Session, GrantLifetime::Persistent] {
        let world = World::with(|mut config| {
            config.login_grant_lifetime = grant_lifetime;
            config
        });
        let whose = async |browser: &Browser| {
            let page = browser.navigate(&format!("{APP}/fetch?u={API}/cal/x")).await;
            (page.status.as_u16(), page.json()["owner"].as_str().map(str::to_owned))
        };
        let sub = async |browser: &Browser| browser.navigate(&format!("{APP}/who")).await.json()["sub"].clone();
        let before = world.signed_in("alice").await;
        world.op.user("alice", |user| user.set("email", "alice@elsewhere.test"));
        let after = world.signed_in("alice").await;
        world.op.user("bob", |user| user.set("email", "alice@example.com"));
        let bob = world.signed_in("bob").await;
        for (browser, subject, owner) in [(&before, "a1", "alice"), (&after, "a1", "alice"), (&bob, "b1", "bob")] {
            assert_eq!(sub(browser).await, subject);
            assert_eq!(whose(browser).await, (200, Some(owner.to_owned())), "{grant_lifetime:?}");
        }
    }
}

/// What a claim is for decides whether its type matters: where nothing is decided by it, it keeps nobody out.
#[tokio::test]
async fn claims_of_odd_types() {
    let login = async |claim: &'static str, value: Value| {
        let world = World::new();
        world.op.edit_id_token(move |jwt| jwt.claim(claim, value.clone()));
        is_in(&attempt(&world).await.1)
    };
    for (claim, value) in [
        ("email", json!(null)),
        ("name", json!(null)),
        ("name#", json!("?")),
        ("nickname", json!(false)),
        ("address", json!("1 Some Street")),
        ("updated_at", json!("yesterday")),
        ("locale", json!({ "language": "en" })),
        ("phone_number", json!(123)),
        ("gender", json!(1)),
        ("picture", json!({ "data": {} })),
        ("amr", json!("pwd")),
        ("acr", json!(0)),
        ("auth_time", json!("1")),
        ("sid", json!(1)),
        ("azp", json!(null)),
        ("nbf", json!(null)),
        ("at_hash", json!(null)),
    ] {
        assert!(login(claim, value.clone()).await, "{claim}: {value}");
    }
    for (claim, value) in [
        ("azp", json!(1)),
        ("nbf", json!("soon")),
        ("at_hash", json!(1)),
        ("aud", json!(["app", 1])),
        ("aud", json!([["app"]])),
        ("aud", json!(["app", null])),
    ] {
        assert!(!login(claim, value.clone()).await, "{claim}: {value}");
    }
}
