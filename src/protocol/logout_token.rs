//! Logout tokens: OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id_token::{self, LEEWAY, OLDEST, TokenPolicy};
use super::json::{self, Claims};
use super::jws::{self, Algorithm, JwtError, KeySet, refused};
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
    /// The token's `iat`, by the provider's clock.
    pub(crate) issued_at: u64,
    /// When this logout first came here.
    pub(crate) received_at: Timestamp,
    /// The algorithm of the token's signature, where sessions are compared with it.
    pub(crate) algorithm: Option<Algorithm>,
}

/// What a logout means for a session, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogoutEffect {
    Ends,
    /// It is meant, and the token is signed by another algorithm than its ID tokens were.
    OtherAlgorithm,
    None,
}

/// A logout token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    pub(crate) target: LogoutTarget,
    pub(crate) jti: String,
    /// From then on it would be refused by its age alone.
    pub(crate) spent_until: Timestamp,
}

/// Verifies a logout token, in the order of section 2.6. Whether its `jti` came before is for the caller to know.
pub(crate) fn verify(compact: &str, keys: &KeySet, expected: &TokenPolicy<'_>) -> Result<LogoutToken, JwtError> {
    // (2) and (3). `logout+jwt` is recommended and no more (section 2.4): other rules tell it from an ID token.
    let mut token = jws::verify(compact, keys, &["", "logout+jwt", "jwt"], &expected.jws)?;
    id_token::readable(&mut token, &[])?;
    let (algorithm, mut claims) = (token.algorithm, token.claims);
    // (4)
    let issuer = expected.issuer.check(&claims, token.key_issuer)?.to_owned();
    id_token::audience(&claims, expected)?;
    let issued_at = id_token::date(&claims, "iat")?;
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
        return Err(JwtError::Refused("nonce is there, as in an ID token".into()));
    }
    // (8)
    let jti = text(&claims, "jti")?.ok_or_else(|| refused(&claims, "jti", "a text"))?;
    let expires = Timestamp::from_secs(id_token::date(&claims, "exp")?);
    // One leeway for the rule itself, one for clocks of other processes.
    let spent_until = expires.min(oldest).saturating_add(LEEWAY * 2);
    // Where one algorithm alone is accepted there is nothing to compare.
    let algorithm = (expected.jws.algorithms.len() > 1).then_some(algorithm);
    let received_at = expected.now;
    let target = LogoutTarget { issuer, subject, sid, issued_at, received_at, algorithm };
    Ok(LogoutToken { target, jti, spent_until })
}

/// A claim that is a text where it is there at all.
fn text(claims: &Claims, name: &'static str) -> Result<Option<String>, JwtError> {
    let text = || json::text(claims, name).map(str::to_owned).ok_or_else(|| refused(claims, name, "a text"));
    claims.contains_key(name).then(text).transpose()
}

impl LogoutTarget {
    /// All sessions of a user, which end here and not at the provider.
    pub(crate) fn all_of((issuer, subject): (&str, &str), received_at: Timestamp) -> Self {
        let (issuer, subject) = (issuer.to_owned(), Some(subject.to_owned()));
        Self { issuer, subject, sid: None, issued_at: u64::MAX, received_at, algorithm: None }
    }

    /// Whether a note of this logout says nothing that the note of the other one does not say.
    pub(crate) fn is_covered_by(&self, other: &Self) -> bool {
        self.subject == other.subject
            && self.sid == other.sid
            && self.algorithm == other.algorithm
            && self.issued_at <= other.issued_at
            && self.received_at <= other.received_at
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::issuer::ProviderIssuer;
    use super::super::jws::JwsPolicy;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};
    use serde_json::json;

    fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Verifies a token with these claims, at this time, where these algorithms are accepted.
    fn verified(claims: &Value, issuer: &str, now: Timestamp, algorithms: &[&str]) -> Result<LogoutToken, JwtError> {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let (x, y) = (encode(point.x().unwrap()), encode(point.y().unwrap()));
        let jwk = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] });
        let keys = KeySet::parse(jwk.to_string().as_bytes()).unwrap();
        let message = format!("{}.{}", encode(br#"{"alg":"ES256"}"#), encode(claims.to_string().as_bytes()));
        let signature: Signature = key.sign(message.as_bytes());
        let token = format!("{message}.{}", encode(&signature.to_bytes()));
        assert_eq!(jws::claimed_issuer(&token).as_deref(), claims["iss"].as_str());
        let algorithms: Vec<_> = algorithms.iter().map(|name| Algorithm::from_name(name).unwrap()).collect();
        verify(
            &token,
            &keys,
            &TokenPolicy {
                issuer: &ProviderIssuer::exact(issuer),
                client_id: "app",
                trusted_audiences: &[],
                any_audience_with_azp: false,
                jws: JwsPolicy { algorithms: &algorithms, keys_are_new: false },
                decisive: &[],
                now,
            },
        )
    }

    const OP: &str = "https://op.test";
    const IAT: u64 = 10_000;

    fn claims() -> Value {
        json!({
            "iss": OP, "aud": "app", "iat": IAT, "exp": IAT + 100, "jti": "j", "sub": "a1", "events": { EVENT: {} },
        })
    }

    /// Where the caller asks the wrong provider's keys: the issuer is compared here too.
    #[test]
    fn the_issuer_is_the_one_whose_keys_verify() {
        let verified_for = |issuer| verified(&claims(), issuer, Timestamp::from_secs(IAT), &["ES256"]);
        assert_eq!(verified_for(OP).map(|token| token.jti), Ok("j".to_owned()));
        let refused = verified_for("https://other.test").unwrap_err().to_string();
        assert!(refused.ends_with(r#"expected "https://other.test""#), "{refused}");
    }

    /// A token is remembered for as long as it could come again, with a leeway of its own and one of another clock. Its
    /// algorithm is compared only where several are accepted.
    #[test]
    fn a_token_is_remembered_while_it_could_come_again() {
        let at = |seconds: u64| Timestamp::from_secs(seconds);
        let token = |edit: &dyn Fn(&mut Value), algorithms: &[&str]| {
            let mut claims = claims();
            edit(&mut claims);
            verified(&claims, OP, at(IAT), algorithms).unwrap()
        };
        let hour = OLDEST.as_secs();
        for (exp, until) in [(IAT + 100, IAT + 100), (IAT + hour, IAT + hour), (IAT + 2 * hour, IAT + hour)] {
            let token = token(&|claims| claims["exp"] = exp.into(), &["ES256"]);
            assert_eq!(token.spent_until, at(until).saturating_add(LEEWAY * 2), "{exp}");
            assert_eq!(token.target.algorithm, None);
        }
        let several = token(&|_| (), &["ES256", "RS256"]);
        assert_eq!(several.target.algorithm, Algorithm::from_name("ES256"));
    }

    #[test]
    fn an_hour_is_the_oldest() {
        let mut claims = claims();
        claims["exp"] = (IAT + 10 * OLDEST.as_secs()).into();
        for (later, holds) in [(0, true), (OLDEST.as_secs(), true), (OLDEST.as_secs() + 1, false)] {
            let now = Timestamp::from_secs(IAT + later);
            assert_eq!(verified(&claims, OP, now, &["ES256"]).is_ok(), holds, "{later}");
        }
    }

    pub(crate) fn target(subject: Option<&str>, sid: Option<&str>) -> LogoutTarget {
        LogoutTarget {
            issuer: "https://op.test".into(),
            subject: subject.map(Into::into),
            sid: sid.map(Into::into),
            issued_at: 100,
            received_at: Timestamp::from_secs(1000),
            algorithm: Algorithm::from_name("RS256"),
        }
    }

    #[test]
    fn an_older_note_says_nothing_new() {
        let older = LogoutTarget { issued_at: 90, ..target(Some("a1"), None) };
        let late = LogoutTarget { received_at: Timestamp::from_secs(2000), ..older.clone() };
        assert!(older.is_covered_by(&target(Some("a1"), None)));
        assert!(older.is_covered_by(&older), "it came twice");
        assert!(!late.is_covered_by(&target(Some("a1"), None)), "it came later");
        assert!(!target(Some("a1"), None).is_covered_by(&late));
        let other_algorithm = LogoutTarget { algorithm: Algorithm::from_name("ES256"), ..older.clone() };
        for another in [target(Some("b1"), None), target(None, None), target(Some("a1"), Some("s")), other_algorithm] {
            assert!(!older.is_covered_by(&another), "{another:?}");
        }
        let newer = LogoutTarget { issued_at: 101, ..older.clone() };
        assert!(!newer.is_covered_by(&target(Some("a1"), None)), "it was made later");
    }
}
