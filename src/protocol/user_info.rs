//! UserInfo responses (OpenID Connect Core 1.0 section 5.3).

use serde::{Deserialize, Serialize};

use super::access_token::of_no_other;
use super::id_token::{self, OF_TOKEN, TokenPolicy};
use super::json::{self, Claims};
use super::jws::{self, JwtError, KeySet, refused};

/// Why a UserInfo response is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserInfoError {
    #[error("the UserInfo response is not a JSON object")]
    Malformed,
    #[error("the UserInfo response's {0} cannot be read")]
    Unreadable(String),
    /// Section 5.3.4: the claims of somebody else MUST NOT be used.
    #[error("the UserInfo response is about somebody else")]
    AnotherSubject,
    #[error("the UserInfo response is not signed, expected {0} (userinfo_signed_response_alg): set it at the provider")]
    Unsigned(&'static str),
}

/// Verifies a signed response (section 5.3.2) about a user of this issuer, as far as an ID token: it need not say when it was
/// issued, and until when it counts. Returns the claims, and the names of those whose values cannot be read.
pub(crate) fn verify(
    compact: &str, issuer: &str, keys: &KeySet, expected: &TokenPolicy<'_>,
) -> Result<(Claims, Vec<String>), JwtError> {
    let mut token = jws::verify(compact, keys, &["", "jwt", "jose"], &expected.jws)?;
    id_token::readable(&mut token, &[])?;
    let mut claims = token.claims;
    if expected.issuer.check(&claims, token.key_issuer)? != issuer {
        return Err(refused(&claims, "iss", format_args!("{issuer:?}, as in the ID token")));
    }
    id_token::audience(&claims, expected)?;
    of_no_other(&claims)?;
    claims.entry("exp").or_insert_with(|| expected.now.as_secs().into());
    id_token::times(&claims, json::numeric_date(&claims, "iat").unwrap_or_default(), expected.now)?;
    Ok((claims, token.unreadable))
}

/// Checks that claims are about `subject`, and that nothing is decided by those whose values cannot be read. Null is how some
/// providers write a claim that they do not return (section 5.3.2): it replaces nothing that the ID token says.
pub(crate) fn check(
    mut claims: Claims, unreadable: &[String], subject: &str, decisive: &[String],
) -> Result<Claims, UserInfoError> {
    if json::text(&claims, "sub") != Some(subject) {
        return Err(UserInfoError::AnotherSubject);
    }
    claims.retain(|_, value| !value.is_null());
    let unread = unreadable.iter().find(|name| decisive.contains(name));
    unread.map_or(Ok(claims), |name| Err(UserInfoError::Unreadable(name.clone())))
}

/// Other claims of the ID token that say nothing about the person.
const OF_RESPONSE: &[&str] = &["c_hash", "s_hash"];

/// Claims about the login, which the ID token alone makes.
pub(crate) const LOGIN_CLAIMS: &[&str] = &["sid", "amr"];

/// What is kept about the person: the ID token's claims, over which UserInfo's go.
///
/// An e-mail and its `email_verified` come from the same place: one that is verified must not lend that to
/// another.
pub(crate) fn about_person(mut id_token: Claims, user_info: Option<Claims>) -> Claims {
    let is_about_person = |name: &str| ![OF_TOKEN, OF_RESPONSE].iter().any(|claims| claims.contains(&name));
    id_token.retain(|name, _| is_about_person(name) || LOGIN_CLAIMS.contains(&name.as_str()));
    let Some(mut user_info) = user_info else { return id_token };
    user_info.retain(|name, _| is_about_person(name) && !LOGIN_CLAIMS.contains(&name.as_str()));
    for (claim, verified) in VERIFIED {
        if !user_info.contains_key(claim) {
            user_info.remove(verified);
        }
    }
    replace(id_token, user_info)
}

/// The claims that say of another one that it was verified.
pub(crate) const VERIFIED: [(&str, &str); 2] = [("email", "email_verified"), ("phone_number", "phone_number_verified")];

/// These claims with others over them: one that is replaced is verified only where the others say so.
pub(crate) fn replace(mut claims: Claims, others: Claims) -> Claims {
    for (_, verified) in VERIFIED.iter().filter(|(claim, _)| others.contains_key(*claim)) {
        claims.remove(*verified);
    }
    claims.extend(others);
    claims
}

/// When the UserInfo endpoint is asked at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FetchUserInfo {
    /// Never: the ID token says it all.
    Never,
    /// When `email` or `profile` was asked for and the ID token holds no e-mail or no name.
    #[default]
    WhenNeeded,
    /// At every login.
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    /// An address is verified by whoever gives it.
    #[test]
    fn what_replaces_an_email_is_not_verified_by_what_it_replaces() {
        let provider = map(json!({ "email": "a@x.test", "email_verified": true, "phone_number_verified": true }));
        for (hook, verified) in [
            (json!({ "email": "root@x.test" }), Value::Null),
            (json!({ "email": "root@x.test", "email_verified": true }), true.into()),
            (json!({ "email": "root@x.test", "email_verified": false }), false.into()),
            (json!({ "role": "boss" }), true.into()),
            (json!({ "email_verified": false }), false.into()),
        ] {
            let claims = replace(provider.clone(), map(hook.clone()));
            assert_eq!(claims.get("email_verified").cloned().unwrap_or_default(), verified, "{hook}");
            assert_eq!(claims["phone_number_verified"], true, "{hook}");
        }
    }

    #[test]
    fn only_the_same_subject_is_used() {
        let parse = |body: &[u8], subject| {
            let (claims, unreadable) = json::members(body).ok_or(UserInfoError::Malformed)?;
            check(claims, &unreadable, subject, &[])
        };
        assert!(parse(br#"{"sub":"a1","name":"Alice"}"#, "a1").is_ok());
        for other in [r#"{"sub":"b1"}"#, r#"{"name":"Alice"}"#, r#"{"sub":""}"#, r#"{"sub":1}"#] {
            assert_eq!(parse(other.as_bytes(), "a1"), Err(UserInfoError::AnotherSubject), "{other}");
        }
        assert_eq!(parse(br#"{"sub":"b1","sub":"a1"}"#, "a1"), Err(UserInfoError::Malformed));
        assert_eq!(parse(b"eyJ.eyJ.sig", "a1"), Err(UserInfoError::Malformed));
    }

    #[test]
    fn what_cannot_be_read_is_left_out_unless_something_is_decided_by_it() {
        let body = br#"{"sub":"a1","name":"\ud83d","email":"a@x.test"}"#;
        let (claims, unreadable) = json::members(body).unwrap();
        assert_eq!((claims.contains_key("name"), &unreadable), (false, &vec!["name".to_owned()]));
        let check = |subject, decisive: &str| check(claims.clone(), &unreadable, subject, &[decisive.to_owned()]);
        assert!(check("a1", "email").is_ok());
        assert_eq!(check("a1", "name"), Err(UserInfoError::Unreadable("name".into())));
        assert_eq!(check("b1", "name"), Err(UserInfoError::AnotherSubject));
    }

    #[test]
    fn a_verification_never_moves_to_another_address() {
        let id_token = map(json!({"sub":"a","email":"own@x.test","email_verified":true,"exp":1,"name":"A"}));
        let merged = about_person(id_token.clone(), Some(map(json!({"sub":"a","email":"root@x.test"}))));
        assert_eq!(Value::Object(merged), json!({"email":"root@x.test","name":"A"}));
        let unverified = map(json!({"email":"own@x.test"}));
        let merged = about_person(unverified, Some(map(json!({"email_verified":true}))));
        assert_eq!(Value::Object(merged), json!({"email":"own@x.test"}));
        assert_eq!(
            Value::Object(about_person(id_token, None)),
            json!({"email":"own@x.test","email_verified":true,"name":"A"})
        );
    }
}
