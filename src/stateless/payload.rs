//! What cookies hold, in few bytes: who the person is, what is known of them, what they granted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::packed_token::PackedToken;
use crate::clock::Timestamp;
use crate::protocol::id_token::OriginalIdToken;
use crate::protocol::json;
use crate::protocol::token::scopes;
use crate::protocol::user_info::about_person;
use crate::records::grant::{Consent, Earlier, Grant, GrantSource, GrantStatus, Owner, TokenSet};
use crate::records::grant_key::GrantKey;
use crate::secret::Secret;

/// Everything that the provider and the login hook said about the person, and the ID token for the provider's logout.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClaimsPayload {
    id_token: PackedToken,
    /// A JSON object: the claims, or those that the ID token does not hold.
    claims: String,
    beside_id_token: bool,
}

impl ClaimsPayload {
    /// `claims` is a JSON object.
    pub(crate) fn new(claims: &str, id_token: &Secret) -> Self {
        let beside = beside(claims, id_token);
        Self {
            id_token: PackedToken::new(id_token),
            beside_id_token: beside.is_some(),
            claims: beside.unwrap_or_else(|| claims.to_owned()),
        }
    }

    pub(crate) fn id_token(&self) -> Option<Secret> {
        self.id_token.token()
    }

    /// The claims again, as a JSON object.
    pub(crate) fn claims(self) -> Option<String> {
        if !self.beside_id_token {
            return Some(self.claims);
        }
        let mut claims = payload(&self.id_token()?)?;
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
    Some(about_person(json::object(&payload)?, None))
}

/// A grant, without what its place says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GrantPayload {
    generation: u64,
    refresh_token: Option<PackedToken>,
    original: Option<OriginalIdTokenPayload>,
    scopes: String,
    token_sets: Vec<TokenSetPayload>,
    status: GrantStatus,
    consent: Option<Consent>,
    earlier: Option<Earlier>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OriginalIdTokenPayload {
    /// Issuer and subject, where they are not the owner's.
    account: Option<(String, String)>,
    issued_at: u64,
    auth_time: Option<u64>,
    authorized_party: Option<String>,
    nonce: Option<PackedToken>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TokenSetPayload {
    indicator: Option<String>,
    scopes: Option<String>,
    access_token: PackedToken,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl GrantPayload {
    pub(crate) fn new(grant: &Grant) -> Self {
        Self {
            generation: grant.generation,
            refresh_token: grant.refresh_token.as_ref().map(PackedToken::new),
            original: grant
                .original
                .as_ref()
                .map(|original| OriginalIdTokenPayload::new(original, &grant.owner)),
            scopes: grant.scopes.join(" "),
            token_sets: grant.token_sets.iter().map(TokenSetPayload::new).collect(),
            status: grant.status,
            consent: grant.consent.clone(),
            earlier: grant.earlier.clone(),
        }
    }

    /// The grant that lies in this place; `None` where this is none.
    pub(crate) fn grant(self, grant_key: &GrantKey) -> Option<Grant> {
        let GrantKey { owner, client, connection, .. } = grant_key;
        let original = match self.original {
            Some(original) => Some(original.original(owner)?),
            None => None,
        };
        let refresh_token = match self.refresh_token {
            Some(token) => Some(token.token()?),
            None => None,
        };
        Some(Grant {
            owner: owner.clone(),
            client: *client,
            connection: connection.clone(),
            // Nothing else is carried.
            origin: GrantSource::Consent,
            generation: self.generation,
            refresh_token,
            original,
            scopes: scopes(&self.scopes),
            token_sets: self.token_sets.into_iter().map(TokenSetPayload::token_set).collect::<Option<_>>()?,
            // Whoever refreshes says so where all processes look.
            lease: None,
            status: self.status,
            consent: self.consent,
            earlier: self.earlier,
        })
    }
}

impl OriginalIdTokenPayload {
    fn new(original: &OriginalIdToken, owner: &Owner) -> Self {
        let account = (original.issuer.as_str(), original.subject.as_str());
        let is_owner = owner.user() == Some(account);
        Self {
            account: (!is_owner).then(|| (account.0.to_owned(), account.1.to_owned())),
            issued_at: original.issued_at,
            auth_time: original.auth_time,
            authorized_party: original.authorized_party.clone(),
            nonce: original.nonce.as_deref().map(|nonce| PackedToken::new(&nonce.into())),
        }
    }

    fn original(self, owner: &Owner) -> Option<OriginalIdToken> {
        let (issuer, subject) = match self.account {
            Some(account) => account,
            None => owner.user().map(|(issuer, subject)| (issuer.to_owned(), subject.to_owned()))?,
        };
        let nonce = match self.nonce {
            Some(nonce) => Some(nonce.token()?.expose_secret().to_owned()),
            None => None,
        };
        Some(OriginalIdToken {
            issuer,
            subject,
            issued_at: self.issued_at,
            auth_time: self.auth_time,
            authorized_party: self.authorized_party,
            nonce,
        })
    }
}

impl TokenSetPayload {
    fn new(set: &TokenSet) -> Self {
        Self {
            indicator: set.indicator.clone(),
            scopes: set.scopes.as_ref().map(|scopes| scopes.join(" ")),
            access_token: PackedToken::new(&set.access_token),
            issued_at: set.issued_at,
            expires_at: set.expires_at,
        }
    }

    fn token_set(self) -> Option<TokenSet> {
        Some(TokenSet {
            indicator: self.indicator,
            scopes: self.scopes.as_deref().map(scopes),
            access_token: self.access_token.token()?,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        })
    }
}
