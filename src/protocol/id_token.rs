//! ID tokens: OpenID Connect Core 1.0 sections 3.1.3.7 and 12.2.

use std::time::Duration;

use serde_json::{Map, Value};

use super::json;
use super::jws::{self, Algorithm, JwsError, KeySet, VerifiedJws};
use crate::clock::Timestamp;
use crate::secret::{Secret, packed_option};

/// How far the provider's clock may be from ours.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// An ID token of a login is issued for that login: one that is older than this was not, or a clock stands still.
pub(super) const OLDEST: Duration = Duration::from_secs(60 * 60);

/// What a token of the provider's must say.
#[derive(Clone, Debug)]
pub(crate) struct TokenPolicy<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) trusted_audiences: &'a [String],
    pub(crate) algorithms: &'a [Algorithm],
    pub(crate) now: Timestamp,
}

/// What the ID token came with.
#[derive(Clone, Debug)]
pub(crate) enum IdTokenUse<'a> {
    Login {
        nonce: &'a str,
        max_age: Option<Duration>,
        acr_values: &'a [String],
    },
    /// OpenID Connect Core 1.0 section 12.2: the same person, by the same authentication.
    /// The first ID token of a grant that began with a refresh token alone has nothing to be compared with.
    Refresh {
        original: Option<&'a OriginalIdToken>,
    },
}

/// An ID token that holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdToken {
    pub(crate) facts: OriginalIdToken,
    /// The algorithm of its signature.
    pub(crate) algorithm: Algorithm,
    pub(crate) sid: Option<String>,
    pub(crate) acr: Option<String>,
    pub(crate) claims: Map<String, Value>,
}

/// What later ID tokens of the same grant are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct OriginalIdToken {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) issued_at: u64,
    pub(crate) auth_time: Option<u64>,
    pub(crate) authorized_party: Option<String>,
    #[serde(with = "packed_option")]
    pub(crate) nonce: Option<Secret>,
}

/// Why an ID token is refused. `UnknownKey` may be a key that was rotated in a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdTokenError {
    #[error("the ID token is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the ID token is refused: {0}")]
    Refused(&'static str),
    /// Only in a refresh: the tokens belong to somebody else.
    #[error("the ID token names another owner: {0}")]
    AnotherOwner(&'static str),
}

use IdTokenError::{AnotherOwner, Refused};

/// Verifies an ID token, in the order of section 3.1.3.7.
pub(crate) fn verify(
    compact: &str,
    access_token: &str,
    token_use: &IdTokenUse<'_>,
    keys: &KeySet,
    expected: &TokenPolicy<'_>,
) -> Result<IdToken, IdTokenError> {
    // (6) to (8); the other rules follow once it is known whose words these are.
    let token = jws::verify(compact, keys, expected.algorithms, &["jwt"]).map_err(refusal)?;
    let claims = &token.claims;
    let facts = facts(claims)?;
    // 3.1.3.7 (2), and for a refresh 12.2: the same issuer.
    if facts.issuer != expected.issuer {
        return Err(Refused("iss"));
    }
    audience(claims, expected.client_id, expected.trusted_audiences)?;
    authorized_party(claims, &facts, expected.client_id)?;
    times(claims, facts.issued_at, expected.now)?;
    access_token_hash(&token, access_token)?;
    match token_use {
        IdTokenUse::Login { nonce, max_age, acr_values } => {
            // (11)
            if facts.nonce.as_ref().map(Secret::expose_secret) != Some(*nonce) {
                return Err(Refused("nonce"));
            }
            // (10): `iat` may be used to refuse a token that was issued too far from now.
            if Timestamp::from_secs(facts.issued_at).saturating_add(OLDEST) < expected.now {
                return Err(Refused("iat"));
            }
            authenticated_recently(&facts, *max_age, expected.now)?;
            // (12): voluntary in the specification; whoever asks for it here relies on it.
            let acr = json::text(claims, "acr");
            if !acr_values.is_empty() && !acr_values.iter().any(|wanted| Some(wanted.as_str()) == acr) {
                return Err(Refused("acr"));
            }
        }
        IdTokenUse::Refresh { original: Some(original) } => same_authentication(&facts, original)?,
        IdTokenUse::Refresh { original: None } => {}
    }
    Ok(IdToken {
        sid: json::text(claims, "sid").map(str::to_owned),
        acr: json::text(claims, "acr").map(str::to_owned),
        facts,
        algorithm: token.algorithm,
        claims: token.claims,
    })
}

pub(super) fn refusal(error: JwsError) -> IdTokenError {
    match error {
        JwsError::UnknownKey => IdTokenError::UnknownKey,
        JwsError::Malformed => Refused("it is not a signed JWT"),
        JwsError::Header => Refused("its header is not supported"),
        JwsError::Algorithm => Refused("alg"),
        JwsError::AmbiguousKey => Refused("kid"),
    }
}

fn facts(claims: &Map<String, Value>) -> Result<OriginalIdToken, IdTokenError> {
    let text = |name| json::text(claims, name).map(str::to_owned);
    Ok(OriginalIdToken {
        issuer: text("iss").ok_or(Refused("iss"))?,
        // Section 2: at most 255 ASCII characters; longer ones would also make rows and cookies grow.
        subject: text("sub").filter(|sub| sub.len() <= 255).ok_or(Refused("sub"))?,
        issued_at: json::numeric_date(claims, "iat").ok_or(Refused("iat"))?,
        auth_time: json::numeric_date(claims, "auth_time"),
        authorized_party: text("azp"),
        nonce: json::text(claims, "nonce").map(Secret::from),
    })
}

/// 3.1.3.7 (3): it is for us, and for nobody besides whom the operator does not trust.
pub(super) fn audience(
    claims: &Map<String, Value>,
    client_id: &str,
    trusted: &[String],
) -> Result<(), IdTokenError> {
    let refused = Refused("aud");
    let audiences = match claims.get("aud") {
        Some(Value::Array(several)) => several.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => return Err(refused),
    };
    let mut for_us = false;
    for audience in audiences {
        let audience = audience.as_str().ok_or(refused)?;
        let us = audience == client_id;
        for_us |= us;
        if !us && !trusted.iter().any(|trusted| trusted == audience) {
            return Err(refused);
        }
    }
    if for_us { Ok(()) } else { Err(refused) }
}

/// 3.1.3.7 (4) and (5): several audiences need an authorized party, and one that is named must be us.
fn authorized_party(
    claims: &Map<String, Value>,
    facts: &OriginalIdToken,
    client_id: &str,
) -> Result<(), IdTokenError> {
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|audiences| audiences.len() > 1);
    match (&facts.authorized_party, claims.contains_key("azp")) {
        (Some(party), _) if party == client_id => Ok(()),
        (None, false) if !several => Ok(()),
        _ => Err(Refused("azp")),
    }
}

/// 3.1.3.7 (9) and (10), and `nbf` (RFC 7519 section 4.1.5).
pub(super) fn times(claims: &Map<String, Value>, issued_at: u64, now: Timestamp) -> Result<(), IdTokenError> {
    let expires = json::numeric_date(claims, "exp").ok_or(Refused("exp"))?;
    if Timestamp::from_secs(expires).saturating_add(LEEWAY) <= now {
        return Err(Refused("exp"));
    }
    let latest = now.saturating_add(LEEWAY);
    if Timestamp::from_secs(issued_at) > latest {
        return Err(Refused("iat"));
    }
    // A `nbf` that cannot be read is not one that has passed.
    if claims.contains_key("nbf")
        && json::numeric_date(claims, "nbf").is_none_or(|nbf| Timestamp::from_secs(nbf) > latest)
    {
        return Err(Refused("nbf"));
    }
    Ok(())
}

/// 3.1.3.8: binds the access token to the ID token, where the provider says so.
fn access_token_hash(token: &VerifiedJws<'_>, access_token: &str) -> Result<(), IdTokenError> {
    let Some(hash) = token.claims.get("at_hash") else { return Ok(()) };
    let computed = token.access_token_hash(access_token);
    if computed.is_some() && hash.as_str() == computed.as_deref() { Ok(()) } else { Err(Refused("at_hash")) }
}

/// 3.1.3.7 (13).
fn authenticated_recently(
    facts: &OriginalIdToken,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Result<(), IdTokenError> {
    let Some(max_age) = max_age else { return Ok(()) };
    let auth_time = facts.auth_time.ok_or(Refused("auth_time"))?;
    let latest = Timestamp::from_secs(auth_time).saturating_add(max_age).saturating_add(LEEWAY);
    if latest < now { Err(Refused("auth_time")) } else { Ok(()) }
}

/// Section 12.2. Whoever differs in `iss` or `sub` is somebody else; the rest is an answer that is not to be used.
fn same_authentication(facts: &OriginalIdToken, original: &OriginalIdToken) -> Result<(), IdTokenError> {
    if facts.subject != original.subject {
        return Err(AnotherOwner("sub"));
    }
    if facts.issuer != original.issuer {
        return Err(AnotherOwner("iss"));
    }
    if facts.issued_at < original.issued_at.saturating_sub(LEEWAY.as_secs()) {
        return Err(Refused("iat"));
    }
    if facts.auth_time.is_some() && original.auth_time.is_some() && facts.auth_time != original.auth_time {
        return Err(Refused("auth_time"));
    }
    if facts.authorized_party != original.authorized_party {
        return Err(Refused("azp"));
    }
    if facts.nonce.is_some() && facts.nonce != original.nonce {
        return Err(Refused("nonce"));
    }
    Ok(())
}
