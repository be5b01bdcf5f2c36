//! Keeping what a token response grants.

use super::locate::GrantRef;
use crate::clock::Timestamp;
use crate::config::connection::GrantLifetime;
use crate::config::connections::CheckedConnection;
use crate::protocol::id_token::OriginalIdToken;
use crate::protocol::token::TokenResponse;
use crate::records::FOREVER;
use crate::records::grant::{Grant, GrantSource, TokenSet};
use crate::store::StoreError;
use crate::tokens::Arc;

/// What a login or a connection yields; `asked` are the scopes that were asked for.
pub(crate) fn new_grant(
    place: &GrantRef,
    connection: &CheckedConnection,
    asked: &[String],
    tokens: &TokenResponse,
    facts: Option<OriginalIdToken>,
    now: Timestamp,
) -> Grant {
    let indicator = connection.single_indicator().map(str::to_owned);
    Grant {
        refresh_token: tokens.refresh_token.clone(),
        original: facts,
        // RFC 6749 section 5.1: a response that names no scopes grants those that were asked for.
        scopes: tokens.scopes.clone().unwrap_or_else(|| asked.to_vec()),
        token_sets: vec![TokenSet::new(indicator, tokens, now)],
        ..Grant::new(place.owner.clone(), place.client, &connection.name, GrantSource::Consent)
    }
}

/// Until when a grant is kept of a session that ends then.
pub(crate) fn kept_until(grant_lifetime: GrantLifetime, session_ends_at: Timestamp) -> Timestamp {
    match grant_lifetime {
        GrantLifetime::Session => session_ends_at,
        GrantLifetime::Persistent => FOREVER,
    }
}

/// The newest consent wins over whatever lies there; where it brought no refresh token, the one there stays.
pub(crate) async fn keep_grant(
    place: &GrantRef,
    grant_lifetime: GrantLifetime,
    grant: Grant,
    session_ends_at: Timestamp,
) -> Result<Arc<Grant>, StoreError> {
    let runtime = &place.runtime;
    let expires_at = kept_until(grant_lifetime, session_ends_at);
    loop {
        // A refresh that is under way for the old grant finds a newer generation, and adopts it. What the person grants
        // anew replaces what cannot be read here, too: their newest word counts.
        let (newest, version) = place.newest().await?;
        let grant = match &newest {
            Some(newest) => grant.clone().consented_again(newest),
            None => grant.clone(),
        };
        if runtime.records.swap(&place.row, version, &grant, expires_at, Vec::new()).await?.is_some() {
            let grant = Arc::new(grant);
            place.carry(&grant);
            runtime.sweep_in_time();
            return Ok(grant);
        }
    }
}
