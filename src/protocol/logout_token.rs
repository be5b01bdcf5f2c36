//! Logout tokens: OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6.

use serde_json::{Map, Value};

use super::id_token::{self, IdTokenError, LEEWAY, OLDEST};
use super::json;
use super::jws::{self, Algorithm, JwsError, KeySet};
use crate::ambient::Timestamp;

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a logout token must say.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) trusted_audiences: &'a [String],
    pub(crate) algorithms: &'a [Algorithm],
    pub(crate) now: Timestamp,
}

/// A logout token that holds. It names a person, a session at the provider, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    pub(crate) issuer: String,
    pub(crate) subject: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) jti: String,
    issued_at: u64,
    /// From then on it would be refused by its age alone.
    pub(crate) spent_until: Timestamp,
}

/// Why a logout token is refused. `UnknownKey` may be a key that was rotated in a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogoutTokenError {
    #[error("the logout token is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the logout token is refused: {0}")]
    Refused(&'static str),
}

use LogoutTokenError::Refused;

impl From<JwsError> for LogoutTokenError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::UnknownKey => Self::UnknownKey,
            JwsError::Malformed => Refused("it is not a signed JWT"),
            JwsError::Header => Refused("its header is not supported"),
            JwsError::Algorithm => Refused("alg"),
            JwsError::AmbiguousKey => Refused("kid"),
        }
    }
}

/// For the rules that section 2.6 has in common with ID tokens.
impl From<IdTokenError> for LogoutTokenError {
    fn from(error: IdTokenError) -> Self {
        match error {
            IdTokenError::UnknownKey => Self::UnknownKey,
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
    expected: &Expected<'_>,
) -> Result<LogoutToken, LogoutTokenError> {
    // (2) and (3). `logout+jwt` is recommended and no more (section 2.4): other rules tell it from an ID token.
    let claims = jws::verify(compact, keys, expected.algorithms, &["logout+jwt", "jwt"])?.claims;
    // (4)
    let issuer = text(&claims, "iss")?.filter(|issuer| issuer == expected.issuer).ok_or(Refused("iss"))?;
    id_token::audience(&claims, expected.client_id, expected.trusted_audiences)?;
    let issued_at = json::numeric_date(&claims, "iat").ok_or(Refused("iat"))?;
    id_token::times(&claims, issued_at, expected.now)?;
    let oldest = Timestamp::from_secs(issued_at).plus(OLDEST);
    if oldest < expected.now {
        return Err(Refused("iat"));
    }
    // (5)
    let subject = text(&claims, "sub")?;
    let sid = text(&claims, "sid")?;
    if subject.is_none() && sid.is_none() {
        return Err(Refused("sub"));
    }
    // (6)
    if !matches!(claims.get("events").and_then(|events| events.get(EVENT)), Some(Value::Object(_))) {
        return Err(Refused("events"));
    }
    // (7): an ID token can never pass for a logout token.
    if claims.contains_key("nonce") {
        return Err(Refused("nonce"));
    }
    // (8)
    let jti = text(&claims, "jti")?.ok_or(Refused("jti"))?;
    let expires = Timestamp::from_secs(json::numeric_date(&claims, "exp").ok_or(Refused("exp"))?);
    // One leeway for the rule itself, one for clocks of other processes.
    let spent_until = expires.min(oldest).plus(LEEWAY * 2);
    Ok(LogoutToken { issuer, subject, sid, jti, issued_at, spent_until })
}

/// A claim that is a text where it is there at all.
fn text(claims: &Map<String, Value>, name: &'static str) -> Result<Option<String>, LogoutTokenError> {
    match (claims.get(name), json::text(claims, name)) {
        (None, _) => Ok(None),
        (Some(_), text) => text.map(|text| Some(text.to_owned())).ok_or(Refused(name)),
    }
}

impl LogoutToken {
    /// Whether it ends this session: everything that it names must be the session's (section 2.7). A login whose ID
    /// token is younger came after it, both by the provider's own clock.
    pub(crate) fn ends(&self, issuer: &str, subject: &str, sid: Option<&str>, issued_at: u64) -> bool {
        issuer == self.issuer
            && self.subject.as_ref().is_none_or(|named| named == subject)
            && self.sid.as_ref().is_none_or(|named| Some(named.as_str()) == sid)
            && issued_at <= self.issued_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_what_it_names_and_nothing_that_began_later() {
        let token = |subject: Option<&str>, sid: Option<&str>| LogoutToken {
            issuer: "https://op.test".into(),
            subject: subject.map(Into::into),
            sid: sid.map(Into::into),
            jti: "j".into(),
            issued_at: 100,
            spent_until: Timestamp::from_secs(200),
        };
        let ends = |token: LogoutToken| {
            [
                ("a1", Some("s"), 100),
                ("a1", Some("t"), 99),
                ("b1", Some("s"), 99),
                ("a1", None, 99),
                ("a1", Some("s"), 101),
            ]
            .map(|(subject, sid, issued_at)| token.ends("https://op.test", subject, sid, issued_at))
        };
        assert_eq!(ends(token(Some("a1"), None)), [true, true, false, true, false]);
        assert_eq!(ends(token(None, Some("s"))), [true, false, true, false, false]);
        assert_eq!(ends(token(Some("a1"), Some("s"))), [true, false, false, false, false]);
        assert!(!token(Some("a1"), None).ends("https://other.test", "a1", None, 99));
    }
}
