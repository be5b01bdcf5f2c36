//! The status of connections.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::{CheckedConnection, PERSONAL};
use crate::records::{Grant, GrantStatus};

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
    /// have expired and cannot be refreshed. Scopes about the user, such as `email`, are not compared: some providers grant
    /// them under names of their own.
    NeedsConsent,
}

impl ConnectionStatus {
    pub(crate) fn of(connection: &CheckedConnection, provider: &str, grant: Option<Arc<Grant>>, at: Timestamp) -> Self {
        let grant = grant.filter(|_| !connection.single_use);
        let state = match &grant {
            _ if connection.single_use => ConnectionState::SingleUse,
            None => ConnectionState::NotConnected,
            Some(grant) => {
                let said: Vec<_> =
                    connection.scopes.iter().filter(|scope| !PERSONAL.contains(&scope.as_str())).cloned().collect();
                // What lapses counts until it has.
                let whole = grant.covers_scopes(connection.single_indicator(), &said, at);
                match grant.status {
                    GrantStatus::Active if whole && grant.can_serve(at) => ConnectionState::Connected,
                    _ => ConnectionState::NeedsConsent,
                }
            }
        };
        let facts = grant.as_ref().and_then(|grant| grant.original.as_ref());
        Self {
            name: connection.name.clone(),
            state,
            provider: provider.to_owned(),
            scopes: grant.iter().flat_map(|grant| grant.all_scopes()).cloned().collect(),
            account: facts.map(|facts| facts.subject.clone()),
            issuer: facts.map(|facts| facts.issuer.clone()),
        }
    }
}
