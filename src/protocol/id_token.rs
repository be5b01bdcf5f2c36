//! ID tokens: OpenID Connect Core 1.0 sections 3.1.3.7 and 12.2.

use std::time::Duration;

use serde_json::Value;

use super::issuer::ProviderIssuer;
use super::json::{self, Claims, mismatch};
use super::jws::JwtError::{self, AnotherOwner, OtherAuthentication, Refused};
use super::jws::{self, Algorithm, JwsPolicy, KeySet, VerifiedJws, refused};
use crate::clock::Timestamp;
use crate::secret::{Secret, packed_option};

/// How far the provider's clock may be from ours.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// An ID token of a login is issued for that login: one that is older than this was not, or a clock stands still.
pub(super) const OLDEST: Duration = Duration::from_secs(60 * 60);

/// What a token of the provider's must say.
#[derive(Clone, Debug)]
pub(crate) struct TokenPolicy<'a> {
    pub(crate) issuer: &'a ProviderIssuer,
    pub(crate) client_id: &'a str,
    pub(crate) trusted_audiences: &'a [String],
    /// Whether every audience is trusted, if the authorized party is this client.
    pub(crate) any_audience_with_azp: bool,
    pub(crate) jws: JwsPolicy<'a>,
    /// Claims that rules of the configuration decide by.
    pub(crate) decisive: &'a [String],
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

/// An ID token that holds, or what an identity endpoint said in its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IdToken {
    pub(crate) facts: OriginalIdToken,
    /// The algorithm of its signature; `None` of an identity endpoint's answer in its place.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) sid: Option<String>,
    pub(crate) acr: Option<String>,
    pub(crate) claims: Claims,
    /// Claims that are left out, because their values cannot be read.
    pub(crate) unreadable: Vec<String>,
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

/// Claims of the token as a token, which say nothing about the person.
pub(super) const OF_TOKEN: &[&str] =
    &["iss", "sub", "aud", "azp", "nonce", "sid", "acr", "exp", "iat", "nbf", "auth_time", "at_hash", "jti"];
/// Others by which something is decided here, whatever is configured. It is by those of the token, too.
const DECISIVE: &[&str] = &["tid", "hd", "events"];
/// Some libraries write null for what is not there. Of these, null is neither there nor absent.
const NEVER_NULL: &[&str] = &["iss", "sub", "aud", "exp", "iat", "nonce", "events"];

/// Claims of a token whose signature holds. One that cannot be read is left out, unless something is decided by it.
pub(super) fn readable(token: &mut VerifiedJws<'_>, decisive: &[String]) -> Result<(), JwtError> {
    let decides = |name: &&String| {
        [OF_TOKEN, DECISIVE].iter().any(|known| known.contains(&name.as_str())) || decisive.contains(name)
    };
    if let Some(name) = token.unreadable.iter().find(decides) {
        return Err(Refused(format!("{name} cannot be read")));
    }
    token.claims.retain(|name, value| !value.is_null() || NEVER_NULL.contains(&name.as_str()));
    Ok(())
}

/// Verifies an ID token, in the order of section 3.1.3.7.
pub(crate) fn verify(
    compact: &str, access_token: &str, token_use: &IdTokenUse<'_>, keys: &KeySet, expected: &TokenPolicy<'_>,
) -> Result<IdToken, JwtError> {
    // (6) to (8); the other rules follow once it is known whose words these are.
    let mut token = jws::verify(compact, keys, &["", "jwt", "jose"], &expected.jws)?;
    readable(&mut token, expected.decisive)?;
    let claims = &token.claims;
    let facts = facts(claims)?;
    // 3.1.3.7 (2), and for a refresh 12.2: the same issuer.
    expected.issuer.check(claims, token.key_issuer)?;
    audience(claims, expected)?;
    authorized_party(claims, &facts, expected.client_id)?;
    times(claims, facts.issued_at, expected.now)?;
    access_token_hash(&token, access_token)?;
    match token_use {
        IdTokenUse::Login { nonce, max_age, acr_values } => {
            // (11)
            if facts.nonce.as_ref().map(Secret::expose_secret) != Some(*nonce) {
                return Err(Refused("nonce is not the login's".into()));
            }
            // (10): `iat` may be used to refuse a token that was issued too far from now.
            if Timestamp::from_secs(facts.issued_at).saturating_add(OLDEST) < expected.now {
                let hour = "no more than an hour ago";
                return Err(Refused(at_fault(claims, "iat", expected.now, hour)));
            }
            authenticated_recently(claims, *max_age, expected.now)?;
            // (12): voluntary in the specification; whoever asks for it here relies on it.
            let acr = json::text(claims, "acr");
            if !acr_values.is_empty() && !acr_values.iter().any(|wanted| Some(wanted.as_str()) == acr) {
                let expected = acr_values.join(" or ");
                return Err(OtherAuthentication(mismatch("acr", claims.get("acr"), expected)));
            }
        }
        IdTokenUse::Refresh { original: Some(original) } => same_authentication(claims, &facts, original)?,
        IdTokenUse::Refresh { original: None } => {}
    }
    Ok(IdToken {
        sid: json::text(claims, "sid").map(str::to_owned),
        acr: json::text(claims, "acr").map(str::to_owned),
        facts,
        unreadable: token.unreadable,
        algorithm: Some(token.algorithm),
        claims: token.claims,
    })
}

fn facts(claims: &Claims) -> Result<OriginalIdToken, JwtError> {
    let text = |name| json::text(claims, name).map(str::to_owned);
    Ok(OriginalIdToken {
        issuer: text("iss").ok_or_else(|| refused(claims, "iss", "a text"))?,
        // Section 2: at most 255 ASCII characters; longer ones would also make rows and cookies grow.
        subject: text("sub")
            .filter(|sub| sub.len() <= 255)
            .ok_or_else(|| refused(claims, "sub", "a text of at most 255 characters"))?,
        issued_at: date(claims, "iat")?,
        auth_time: json::numeric_date(claims, "auth_time"),
        authorized_party: text("azp"),
        nonce: json::text(claims, "nonce").map(Secret::from),
    })
}

/// A date that must be there.
pub(super) fn date(claims: &Claims, name: &str) -> Result<u64, JwtError> {
    json::numeric_date(claims, name).ok_or_else(|| refused(claims, name, "a date"))
}

/// 3.1.3.7 (3): it is for us, and for nobody besides whom the operator does not trust.
pub(super) fn audience(claims: &Claims, expected: &TokenPolicy<'_>) -> Result<(), JwtError> {
    let TokenPolicy { client_id, trusted_audiences: trusted, any_audience_with_azp: any, .. } = *expected;
    let is_any = any && json::text(claims, "azp") == Some(client_id);
    let audiences = json::list(claims, "aud");
    let is_us = |audience: &Value| audience.as_str() == Some(client_id);
    let is_trusted = |audience: &Value| is_any || trusted.iter().any(|trusted| audience.as_str() == Some(trusted));
    let are_known = audiences.iter().all(|audience| is_us(audience) || is_trusted(audience));
    if are_known && audiences.iter().any(is_us) {
        return Ok(());
    }
    let expected = format!("{client_id:?} alone, or with audiences that are in trusted_audiences");
    Err(refused(claims, "aud", expected))
}

/// 3.1.3.7 (4) and (5): several audiences need an authorized party, and one that is named must be us.
fn authorized_party(claims: &Claims, facts: &OriginalIdToken, client_id: &str) -> Result<(), JwtError> {
    let several = json::list(claims, "aud").len() > 1;
    match (&facts.authorized_party, claims.contains_key("azp")) {
        (Some(party), _) if party == client_id => Ok(()),
        (None, false) if !several => Ok(()),
        _ => Err(refused(claims, "azp", format_args!("{client_id:?}"))),
    }
}

/// A date, with how far it is from this clock, by which it must be as expected.
fn at_fault(claims: &Claims, name: &str, now: Timestamp, expected: &str) -> String {
    let (now, leeway) = (now.as_secs(), LEEWAY.as_secs());
    let distance = json::numeric_date(claims, name).map(|date| {
        let side = if date < now { "before" } else { "after" };
        format!(" ({} s {side} this clock): set the clock that is wrong", date.abs_diff(now))
    });
    let distance = distance.unwrap_or_default();
    mismatch(name, claims.get(name), format_args!("{expected}, with {leeway} s of leeway{distance}"))
}

/// 3.1.3.7 (9) and (10), and `nbf` (RFC 7519 section 4.1.5).
pub(super) fn times(claims: &Claims, issued_at: u64, now: Timestamp) -> Result<(), JwtError> {
    let at_fault = |name, expected| Err(Refused(at_fault(claims, name, now, expected)));
    let has_passed = |end| Timestamp::from_secs(end).saturating_add(LEEWAY) <= now;
    if json::numeric_date(claims, "exp").is_none_or(has_passed) {
        return at_fault("exp", "a date to come");
    }
    let latest = now.saturating_add(LEEWAY);
    if Timestamp::from_secs(issued_at) > latest {
        return at_fault("iat", "a date that has passed");
    }
    // A `nbf` that cannot be read is not one that has passed.
    let is_to_come = |nbf| Timestamp::from_secs(nbf) > latest;
    if claims.contains_key("nbf") && json::numeric_date(claims, "nbf").is_none_or(is_to_come) {
        return at_fault("nbf", "a date that has passed");
    }
    Ok(())
}

/// 3.1.3.8: binds the access token to the ID token, where the provider says so.
fn access_token_hash(token: &VerifiedJws<'_>, access_token: &str) -> Result<(), JwtError> {
    let Some(hash) = token.claims.get("at_hash") else { return Ok(()) };
    let holds = hash.as_str().is_some_and(|hash| token.is_hash_of(hash, access_token));
    holds.then_some(()).ok_or_else(|| Refused("at_hash is not the access token's".into()))
}

/// 3.1.3.7 (13).
fn authenticated_recently(claims: &Claims, max_age: Option<Duration>, now: Timestamp) -> Result<(), JwtError> {
    let Some(max_age) = max_age else { return Ok(()) };
    let latest = |auth_time| Timestamp::from_secs(auth_time).saturating_add(max_age).saturating_add(LEEWAY);
    if json::numeric_date(claims, "auth_time").is_some_and(|auth_time| latest(auth_time) >= now) {
        return Ok(());
    }
    let expected = format!("a date at most {} s ago", max_age.as_secs());
    Err(OtherAuthentication(mismatch("auth_time", claims.get("auth_time"), expected)))
}

/// Section 12.2. Whoever differs in `iss` or `sub` is somebody else; the rest is an answer that is not to be used. An `azp`
/// that is ours may come and go, and another `auth_time` is a later authentication of the same person: some providers keep
/// neither from one refresh to the next.
fn same_authentication(claims: &Claims, facts: &OriginalIdToken, original: &OriginalIdToken) -> Result<(), JwtError> {
    let another = |name, expected: &str| {
        Err(AnotherOwner(mismatch(name, claims.get(name), format_args!("{expected:?}, as at first"))))
    };
    if facts.subject != original.subject {
        return another("sub", &original.subject);
    }
    if facts.issuer != original.issuer {
        return another("iss", &original.issuer);
    }
    if facts.issued_at < original.issued_at.saturating_sub(LEEWAY.as_secs()) {
        return Err(refused(claims, "iat", format_args!("{} or later, as at first", original.issued_at)));
    }
    if claims.contains_key("nonce") && facts.nonce != original.nonce {
        return Err(Refused("nonce is not the login's".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
