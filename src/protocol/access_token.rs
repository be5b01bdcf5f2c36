//! Access tokens that clients send to this application (RFC 6750): JWTs (RFC 9068), and opaque ones (RFC 7662).

use serde_json::{Map, Value};

use super::id_token::{self, LEEWAY, TokenPolicy};
use super::issuer::ProviderIssuer;
use super::json;
use super::jws::{self, JwtError, KeySet, refused};
use super::token::scopes;
use crate::clock::Timestamp;

/// The type of an access token (RFC 9068 section 2.1).
const TYPE: &[&str] = &["at+jwt"];
/// The types where the provider gives its access tokens none of their own.
const PLAIN_TYPES: &[&str] = &["", "jwt", "at+jwt"];

/// Claims of other tokens: of ID tokens, of logout tokens, and of access tokens that need a proof besides (RFC 7800).
const OF_OTHERS: &[&str] = &["nonce", "at_hash", "c_hash", "events", "cnf"];

/// Refuses the claims of other tokens. Their values are not shown: a nonce is a secret.
pub(super) fn of_no_other(claims: &Map<String, Value>) -> Result<(), JwtError> {
    let other = OF_OTHERS.iter().find(|name| claims.contains_key(**name));
    let refused = |name| Err(JwtError::Refused(format!("{name} is there, as in another kind of token")));
    other.map_or(Ok(()), refused)
}

/// How some providers name the kind of a token in its claims, and the kinds that are an access token: Keycloak, Amazon
/// Cognito and Ory Hydra, and RFC 7662 section 2.2.
const KINDS: &[(&str, &[&str])] =
    &[("typ", &["bearer"]), ("token_use", &["access", "access_token"]), ("token_type", &["bearer"])];

/// The names of the client's id: RFC 9068 section 2.2, OpenID Connect Core 1.0 section 2, Okta, and Microsoft Entra ID
/// before 2.0.
const CLIENTS: &[&str] = &["client_id", "azp", "cid", "appid"];

/// How some providers mark a token that a client got for itself (RFC 6749 section 4.4): Microsoft Entra ID ("Access token
/// claims reference", `idtyp`), Auth0 (`gty`).
const OF_CLIENTS: &[(&str, &str)] = &[("idtyp", "app"), ("gty", "client-credentials")];

/// An access token that holds, for this application.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BearerToken {
    pub(crate) issuer: String,
    /// `None` of a token that a client got for itself.
    pub(crate) subject: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: Timestamp,
    pub(crate) claims: Map<String, Value>,
}

/// Verifies an access token for `audience`, in the order of RFC 9068 section 4. `plain`: the provider gives access tokens no
/// type of their own.
pub(crate) fn verify(
    compact: &str, (audience, plain): (&str, bool), keys: &KeySet, expected: &TokenPolicy<'_>,
) -> Result<BearerToken, JwtError> {
    let kinds = if plain { PLAIN_TYPES } else { TYPE };
    let mut token = jws::verify(compact, keys, kinds, &expected.jws)?;
    id_token::readable(&mut token, expected.decisive)?;
    let issuer = expected.issuer.check(&token.claims, token.key_issuer)?.to_owned();
    id_token::times(&token.claims, id_token::date(&token.claims, "iat")?, expected.now)?;
    BearerToken::new(issuer, token.claims, audience)
}

/// Reads what the provider says about an opaque access token (RFC 7662 section 2.2).
pub(crate) fn from_introspection(
    mut claims: Map<String, Value>, audience: &str, issuer: &ProviderIssuer, now: Timestamp,
) -> Result<BearerToken, JwtError> {
    if claims.remove("active") != Some(Value::Bool(true)) {
        return Err(JwtError::Refused("it is not active, as its provider says".into()));
    }
    claims.retain(|_, value| !value.is_null());
    claims.entry("iss").or_insert_with(|| issuer.url.as_str().into());
    let named = issuer.check(&claims, None)?.to_owned();
    let date = |name| json::numeric_date(&claims, name).map(Timestamp::from_secs);
    if date("exp").is_some_and(|exp| exp.saturating_add(LEEWAY) <= now) {
        return Err(refused(&claims, "exp", "a date to come"));
    }
    if date("nbf").is_some_and(|nbf| nbf > now.saturating_add(LEEWAY)) {
        return Err(refused(&claims, "nbf", "a date that has passed"));
    }
    BearerToken::new(named, claims, audience)
}

impl BearerToken {
    /// From the claims of a token of this issuer, wherever they were verified.
    fn new(issuer: String, claims: Map<String, Value>, audience: &str) -> Result<Self, JwtError> {
        if !json::list(&claims, "aud").iter().any(|one| one == audience) {
            return Err(refused(&claims, "aud", format_args!("{audience:?}")));
        }
        of_no_other(&claims)?;
        let is_other = |(name, kinds): &&(&str, &[&str])| {
            let named = claims.get(*name).map(|named| named.as_str().unwrap_or_default().to_ascii_lowercase());
            named.is_some_and(|named| !kinds.contains(&named.as_str()))
        };
        if let Some((name, kinds)) = KINDS.iter().find(is_other) {
            return Err(refused(&claims, name, format_args!("{:?}", kinds[0])));
        }
        let clients = || CLIENTS.iter().filter_map(|name| json::text(&claims, name));
        let sub = json::text(&claims, "sub");
        // Microsoft Entra ID: the subject of a user is another than its object.
        let is_object = sub.is_some() && json::text(&claims, "oid") == sub;
        let is_marked = OF_CLIENTS.iter().any(|(name, value)| json::text(&claims, name) == Some(value));
        let is_clients = is_object || is_marked || sub.is_some_and(|sub| clients().any(|id| id == sub));
        if sub.is_none() && !is_clients {
            return Err(refused(&claims, "sub", "a text"));
        }
        let subject = sub.filter(|_| !is_clients);
        if subject.is_some_and(|sub| sub.len() > 255) {
            return Err(refused(&claims, "sub", "a text of at most 255 characters"));
        }
        let expires_at = json::numeric_date(&claims, "exp").map(Timestamp::from_secs);
        Ok(Self {
            subject: subject.map(str::to_owned),
            client_id: clients().next().map(str::to_owned),
            scopes: granted(&claims),
            expires_at: expires_at.unwrap_or(Timestamp::from_millis(u64::MAX)),
            issuer,
            claims,
        })
    }
}

/// The scopes of a token: `scope` (RFC 8693 section 4.2), or `scp` at Microsoft Entra ID and Okta; a text or a list.
fn granted(claims: &Map<String, Value>) -> Vec<String> {
    let name = if claims.contains_key("scope") { "scope" } else { "scp" };
    json::list(claims, name).iter().filter_map(Value::as_str).flat_map(scopes).collect()
}
