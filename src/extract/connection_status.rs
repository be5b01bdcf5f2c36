//! The status of connections.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::connections::CheckedConnection;
use crate::records::grant::{Grant, GrantStatus, is_silent};

/// The status of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionStatus {
    /// The name of the connection.
    pub name: String,
    /// Whether its tokens can be used.
    pub state: ConnectionState,
    /// The name of its provider.
    pub provider: String,
    /// The granted scopes, which may be fewer than the requested ones.
    pub scopes: Vec<String>,
    /// The subject, at the connection's provider, of the account that granted it. At another provider than the login's
    /// it usually differs from the user's own subject.
    pub account: Option<String>,
    /// The provider's issuer, to which that subject belongs.
    pub issuer: Option<String>,
}

/// Whether a connection's tokens can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionState {
    /// The tokens can be used, as far as the store shows.
    Connected,
    /// The tokens are returned once, as a [`SingleUseToken`](crate::SingleUseToken), and never kept.
    SingleUse,
    /// The connection was never granted, or was disconnected.
    NotConnected,
    /// The provider has ended the grant, or granted fewer scopes than the connection requires, or issued tokens that
    /// have expired and cannot be refreshed.
    NeedsConsent,
}

impl ConnectionStatus {
    pub(crate) fn of(
        connection: &CheckedConnection,
        provider: &str,
        grant: Option<Arc<Grant>>,
        now: Timestamp,
    ) -> Self {
        let missing = Self {
            name: connection.name.clone(),
            state: ConnectionState::NotConnected,
            provider: provider.to_owned(),
            scopes: Vec::new(),
            account: None,
            issuer: None,
        };
        match grant {
            _ if connection.single_use => Self { state: ConnectionState::SingleUse, ..missing },
            None => missing,
            Some(grant) => {
                let said: Vec<_> =
                    connection.scopes.iter().filter(|scope| !is_silent(scope)).cloned().collect();
                // What lapses counts until it has.
                let whole = grant.covers_scopes(connection.single_indicator(), &said, now);
                let state = match grant.status {
                    GrantStatus::Active if whole && grant.can_serve(now) => ConnectionState::Connected,
                    _ => ConnectionState::NeedsConsent,
                };
                let facts =
                    grant.original.as_ref().map(|facts| (facts.subject.clone(), facts.issuer.clone()));
                let (account, issuer) = facts.unzip();
                Self { state, scopes: grant.all_scopes().cloned().collect(), account, issuer, ..missing }
            }
        }
    }
}
