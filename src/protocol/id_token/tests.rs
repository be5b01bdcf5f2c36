use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

fn claims(of: Value) -> Claims {
    of.as_object().cloned().expect("an object")
}

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// Section 2: at most 255 characters.
#[test]
fn a_subject_has_at_most_255_characters() {
    let of = |length: usize| facts(&claims(json!({ "iss": "https://op.test", "sub": "s".repeat(length), "iat": NOW })));
    assert_eq!(of(255).unwrap().subject.len(), 255);
    assert!(of(256).is_err());
}

#[test]
fn an_audience_besides_the_client_must_be_among_those_that_are_trusted() {
    let (issuer, trusted) = (ProviderIssuer::exact("https://op.test"), ["partner".to_owned()]);
    let admits = |aud: Value, azp: &str, any_audience_with_azp: bool| {
        let policy = TokenPolicy {
            issuer: &issuer,
            client_id: "app",
            trusted_audiences: &trusted,
            any_audience_with_azp,
            jws: JwsPolicy { algorithms: &[], keys_are_new: false },
            decisive: &[],
            now: now(),
        };
        audience(&claims(json!({ "aud": aud, "azp": azp })), &policy).is_ok()
    };
    assert!(admits(json!("app"), "app", false));
    assert!(admits(json!(["app", "partner"]), "app", false));
    assert!(!admits(json!(["app", "stranger"]), "app", false), "it is none of those that are trusted");
    assert!(!admits(json!(["partner"]), "app", false), "it is not for the client");
    assert!(admits(json!(["app", "stranger"]), "app", true));
    assert!(!admits(json!(["app", "stranger"]), "stranger", true), "the client did not ask for it");
    assert!(!admits(json!(["stranger"]), "app", true), "it is not for the client");
}

/// A minute of leeway, on both sides, to the second.
#[test]
fn dates_have_a_minute_of_leeway() {
    let holds = |exp: u64, iat: u64, nbf: Value| times(&claims(json!({ "exp": exp, "nbf": nbf })), iat, now()).is_ok();
    assert!(holds(NOW + 1, NOW, json!(NOW)));
    assert!(holds(NOW - 59, NOW, json!(NOW)));
    assert!(!holds(NOW - 60, NOW, json!(NOW)), "it has ended");
    assert!(holds(NOW + 1, NOW + 60, json!(NOW)));
    assert!(!holds(NOW + 1, NOW + 61, json!(NOW)), "it was issued later");
    assert!(holds(NOW + 1, NOW, json!(NOW + 60)));
    assert!(!holds(NOW + 1, NOW, json!(NOW + 61)), "it begins later");
    assert!(!holds(NOW + 1, NOW, json!("soon")), "it says when, in no way that can be read");
}

#[test]
fn an_authentication_is_recent_until_the_longest_age_and_a_minute() {
    let recent = |auth_time: Value| {
        authenticated_recently(&claims(json!({ "auth_time": auth_time })), Some(Duration::from_secs(300)), now())
            .is_ok()
    };
    assert!(recent(json!(NOW - 360)));
    assert!(!recent(json!(NOW - 361)));
    assert!(!recent(Value::Null), "it does not say when");
    assert!(authenticated_recently(&claims(json!({})), None, now()).is_ok(), "the login did not ask");
}

/// Section 12.2: the same user, not issued before the first one, and with its nonce, if it has one.
#[test]
fn an_id_token_of_a_refresh_is_of_the_same_authentication() {
    let original = OriginalIdToken {
        issuer: "https://op.test".to_owned(),
        subject: "ann".to_owned(),
        issued_at: NOW,
        nonce: Some("the login's".into()),
        ..OriginalIdToken::default()
    };
    let of = |change: Value| {
        let mut changed = claims(json!({ "iss": "https://op.test", "sub": "ann", "iat": NOW }));
        changed.extend(claims(change));
        same_authentication(&changed, &facts(&changed).unwrap(), &original)
    };
    for same in [json!({}), json!({ "nonce": "the login's" }), json!({ "iat": NOW - 60 }), json!({ "auth_time": NOW })]
    {
        assert!(of(same.clone()).is_ok(), "{same}");
    }
    for unusable in [json!({ "nonce": "another" }), json!({ "iat": NOW - 61 })] {
        assert!(matches!(of(unusable.clone()), Err(Refused(_))), "{unusable}");
    }
    for another in [json!({ "sub": "bob" }), json!({ "iss": "https://other.test" })] {
        assert!(matches!(of(another.clone()), Err(AnotherOwner(_))), "{another}");
    }
}
