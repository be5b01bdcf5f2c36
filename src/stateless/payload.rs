//! What cookies hold, in few bytes: who the person is, what is known of them, what they granted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::protocol::{OriginalIdToken, json, user_info};
use crate::records::{Consent, Earlier, Grant, GrantKey, GrantSource, GrantStatus, TokenSet};
use crate::secret::{Secret, packed, packed_option};

/// Everything that the provider and the login hook said about the person, and the ID token for the provider's logout.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClaimsPayload {
    #[serde(with = "packed")]
    pub(crate) id_token: Secret,
    /// A JSON object: the claims, or those that the ID token does not hold.
    claims: String,
    beside_id_token: bool,
}

impl ClaimsPayload {
    /// `claims` is a JSON object.
    pub(crate) fn new(claims: &str, id_token: &Secret) -> Self {
        let beside = beside(claims, id_token);
        Self {
            id_token: id_token.clone(),
            beside_id_token: beside.is_some(),
            claims: beside.unwrap_or_else(|| claims.to_owned()),
        }
    }

    /// The claims again, as a JSON object.
    pub(crate) fn claims(self) -> Option<String> {
        if !self.beside_id_token {
            return Some(self.claims);
        }
        let mut claims = payload(&self.id_token)?;
        claims.extend(json::object(self.claims.as_bytes())?);
        Some(Value::Object(claims).to_string())
    }
}

/// The claims that the ID token does not say; `None` where it says what the claims do not.
fn beside(claims: &str, id_token: &Secret) -> Option<String> {
    let mut claims = json::object(claims.as_bytes())?;
    let said = payload(id_token)?;
    if !said.keys().all(|name| claims.contains_key(name)) {
        return None;
    }
    claims.retain(|name, value| said.get(name) != Some(value));
    Some(Value::Object(claims).to_string())
}

/// What an ID token that was verified says about the person.
fn payload(id_token: &Secret) -> Option<Map<String, Value>> {
    let payload = id_token.expose_secret().split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    Some(user_info::about_person(json::object(&payload)?, None))
}

/// A grant, without what its place says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GrantPayload {
    generation: u64,
    #[serde(with = "packed_option")]
    refresh_token: Option<Secret>,
    /// Without issuer and subject, where they are the owner's.
    original: Option<OriginalIdToken>,
    scopes: Vec<String>,
    token_sets: Vec<TokenSet>,
    status: GrantStatus,
    consent: Option<Consent>,
    earlier: Option<Earlier>,
    replaces: bool,
    refused_at: Option<Timestamp>,
}

impl GrantPayload {
    pub(crate) fn new(grant: &Grant) -> Self {
        let mut original = grant.original.clone();
        if let Some(original) = &mut original
            && grant.owner.user() == Some((&original.issuer, &original.subject))
        {
            (original.issuer, original.subject) = (String::new(), String::new());
        }
        Self {
            generation: grant.generation,
            refresh_token: grant.refresh_token.clone(),
            original,
            scopes: grant.scopes.clone(),
            token_sets: grant.token_sets.clone(),
            status: grant.status,
            consent: grant.consent.clone(),
            earlier: grant.earlier.clone(),
            replaces: grant.replaces,
            refused_at: grant.refused_at,
        }
    }

    /// The grant that lies in this place.
    pub(crate) fn grant(self, grant_key: &GrantKey) -> Grant {
        let GrantKey { owner, client, connection, .. } = grant_key;
        let mut original = self.original;
        if let (Some(original), Some((issuer, subject))) = (&mut original, owner.user())
            && original.issuer.is_empty()
        {
            (original.issuer, original.subject) = (issuer.to_owned(), subject.to_owned());
        }
        Grant {
            generation: self.generation,
            refresh_token: self.refresh_token,
            original,
            scopes: self.scopes,
            token_sets: self.token_sets,
            status: self.status,
            consent: self.consent,
            earlier: self.earlier,
            replaces: self.replaces,
            refused_at: self.refused_at,
            // Nothing else is carried. Whoever refreshes says so where all processes look.
            ..Grant::new(owner.clone(), *client, connection, GrantSource::Consent)
        }
    }
}
