//! Logout tokens: OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id_token::{self, IdTokenError, LEEWAY, OLDEST, TokenPolicy};
use super::json::{self, Mismatch};
use super::jws::{self, KeySet};
use crate::clock::Timestamp;

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How long after its `iat` a token counts that says no `exp`: drafts of the specification had none, and to refuse such a
/// token leaves people signed in. The skew of clocks is part of it.
const WITHOUT_EXP: Duration = Duration::from_secs(120);

/// Whose sessions a provider ends: a person's, those of one session at the provider, or what is both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogoutTarget {
    pub(crate) issuer: String,
    pub(crate) subject: Option<String>,
    pub(crate) sid: Option<String>,
    /// None that began later, by the provider's clock.
    pub(crate) until: u64,
}

/// A logout token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    pub(crate) target: LogoutTarget,
    pub(crate) jti: String,
    /// From then on it would be refused by its age alone.
    pub(crate) spent_until: Timestamp,
}

/// Why a logout token is refused. `UnknownKey` may be a key that was rotated in a moment ago.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogoutTokenError {
    #[error("the logout token is signed with a key that the provider does not publish: {0}")]
    UnknownKey(Mismatch),
    #[error("the logout token is refused: {0}")]
    Refused(Mismatch),
}

use LogoutTokenError::Refused;

fn refused(claims: &Map<String, Value>, name: &str, expected: &str) -> LogoutTokenError {
    Refused(Mismatch::new(name, claims.get(name), expected))
}

/// For the rules that section 2.6 has in common with ID tokens.
impl From<IdTokenError> for LogoutTokenError {
    fn from(error: IdTokenError) -> Self {
        match error {
            IdTokenError::UnknownKey(what) => Self::UnknownKey(what),
            IdTokenError::Refused(what) | IdTokenError::AnotherOwner(what) => Refused(what),
        }
    }
}

/// Who claims to have issued a token: nothing of it is verified yet.
pub(crate) fn claimed_issuer(compact: &str) -> Option<String> {
    jws::unverified(compact).as_ref().and_then(|claims| json::text(claims, "iss")).map(str::to_owned)
}

/// Verifies a logout token, in the order of section 2.6. Whether its `jti` came before is for the caller to know.
pub(crate) fn verify(
    compact: &str,
    keys: &KeySet,
    expected: &TokenPolicy<'_>,
) -> Result<LogoutToken, LogoutTokenError> {
    // (2) and (3). `logout+jwt` is recommended and no more (section 2.4): other rules tell it from an ID token.
    let token = jws::verify(compact, keys, &expected.jws(&["logout+jwt", "jwt"]));
    let mut token = token.map_err(id_token::refusal)?;
    id_token::readable(&mut token, &[])?;
    let mut claims = token.claims;
    // (4)
    let issuer = text(&claims, "iss")?.filter(|issuer| issuer == expected.issuer);
    let issuer = issuer.ok_or_else(|| refused(&claims, "iss", expected.issuer))?;
    id_token::audience(&claims, expected.client_id, expected.trusted_audiences)?;
    let issued_at = json::numeric_date(&claims, "iat").ok_or_else(|| refused(&claims, "iat", "a date"))?;
    let without = issued_at.saturating_add(WITHOUT_EXP.saturating_sub(LEEWAY).as_secs());
    claims.entry("exp").or_insert_with(|| without.into());
    id_token::times(&claims, issued_at, expected.now)?;
    let oldest = Timestamp::from_secs(issued_at).saturating_add(OLDEST);
    if oldest < expected.now {
        return Err(refused(&claims, "iat", "a date at most an hour ago"));
    }
    // (5)
    let subject = text(&claims, "sub")?;
    let sid = text(&claims, "sid")?;
    if subject.is_none() && sid.is_none() {
        return Err(refused(&claims, "sub", "a text here or in sid"));
    }
    // (6)
    if !matches!(claims.get("events").and_then(|events| events.get(EVENT)), Some(Value::Object(_))) {
        return Err(refused(&claims, "events", "an object with the member of back-channel logout"));
    }
    // (7): an ID token can never pass for a logout token.
    if claims.contains_key("nonce") {
        return Err(Refused("nonce is there, as in an ID token".into()));
    }
    // (8)
    let jti = text(&claims, "jti")?.ok_or_else(|| refused(&claims, "jti", "a text"))?;
    let expires = json::numeric_date(&claims, "exp").ok_or_else(|| refused(&claims, "exp", "a date"))?;
    let expires = Timestamp::from_secs(expires);
    // One leeway for the rule itself, one for clocks of other processes.
    let spent_until = expires.min(oldest).saturating_add(LEEWAY * 2);
    Ok(LogoutToken { target: LogoutTarget { issuer, subject, sid, until: issued_at }, jti, spent_until })
}

/// A claim that is a text where it is there at all.
fn text(claims: &Map<String, Value>, name: &'static str) -> Result<Option<String>, LogoutTokenError> {
    match (claims.get(name), json::text(claims, name)) {
        (None, _) => Ok(None),
        (Some(_), text) => {
            text.map(|text| Some(text.to_owned())).ok_or_else(|| refused(claims, name, "a text"))
        }
    }
}

impl LogoutTarget {
    /// Whether this session is meant: everything that is named must be the session's (section 2.7), which may have had
    /// several at the provider. A login whose ID token is younger came after the logout, both by the provider's own clock.
    pub(crate) fn ends(&self, issuer: &str, subject: &str, sids: &[String], issued_at: u64) -> bool {
        issuer == self.issuer
            && self.subject.as_ref().is_none_or(|named| named == subject)
            && self.sid.as_ref().is_none_or(|named| sids.contains(named))
            && issued_at <= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::super::jws::Algorithm;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};

    /// Where the caller asks the wrong provider's keys: the issuer is compared here too.
    #[test]
    fn the_issuer_is_the_one_whose_keys_verify() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (encode(point.x().unwrap()), encode(point.y().unwrap()));
        let jwk = serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] });
        let keys = KeySet::parse(jwk.to_string().as_bytes()).unwrap();
        let claims = serde_json::json!({
            "iss": "https://op.test", "aud": "app", "iat": 100, "exp": 200, "jti": "j", "sub": "a1",
            "events": { EVENT: {} },
        });
        let message = format!("{}.{}", encode(br#"{"alg":"ES256"}"#), encode(claims.to_string().as_bytes()));
        let signature: Signature = key.sign(message.as_bytes());
        let token = format!("{message}.{}", encode(&signature.to_bytes()));
        let algorithms = [Algorithm::from_name("ES256").unwrap()];
        let verified_for = |issuer| {
            let now = Timestamp::from_secs(100);
            let (client_id, trusted_audiences) = ("app", [].as_slice());
            verify(
                &token,
                &keys,
                &TokenPolicy {
                    issuer,
                    client_id,
                    trusted_audiences,
                    algorithms: &algorithms,
                    decisive: &[],
                    keys_are_new: false,
                    now,
                },
            )
        };
        assert_eq!(verified_for("https://op.test").map(|token| token.jti), Ok("j".to_owned()));
        let refused = verified_for("https://other.test").unwrap_err().to_string();
        assert!(refused.ends_with("expected https://other.test"), "{refused}");
        assert_eq!(claimed_issuer(&token).as_deref(), Some("https://op.test"));
    }

    #[test]
    fn a_token_ends_what_it_names_and_nothing_that_began_later() {
        let token = |subject: Option<&str>, sid: Option<&str>| LogoutTarget {
            issuer: "https://op.test".into(),
            subject: subject.map(Into::into),
            sid: sid.map(Into::into),
            until: 100,
        };
        let ends = |token: LogoutTarget| {
            [
                ("a1", &["r", "s"][..], 100),
                ("a1", &["t"], 99),
                ("b1", &["s"], 99),
                ("a1", &[], 99),
                ("a1", &["s"], 101),
            ]
            .map(|(subject, sids, issued_at)| {
                let sids: Vec<_> = sids.iter().map(|sid| (*sid).to_owned()).collect();
                token.ends("https://op.test", subject, &sids, issued_at)
            })
        };
        assert_eq!(ends(token(Some("a1"), None)), [true, true, false, true, false]);
        assert_eq!(ends(token(None, Some("s"))), [true, false, true, false, false]);
        assert_eq!(ends(token(Some("a1"), Some("s"))), [true, false, false, false, false]);
        assert!(!token(Some("a1"), None).ends("https://other.test", "a1", &[], 99));
    }
}
