//! How connections stand.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::connections::CheckedConnection;
use crate::records::grant::{Grant, GrantStatus, is_silent};

/// How a connection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionStatus {
    /// The connection's name.
    pub name: String,
    /// Whether its tokens can be used.
    pub state: ConnectionState,
    /// The name of the provider at which it is granted.
    pub provider: String,
    /// What was granted, which may be less than was asked for.
    pub scopes: Vec<String>,
    /// The account that granted it: its subject at the provider. At another provider than the login's it need not be
    /// the person's own subject.
    pub account: Option<String>,
    /// The provider's issuer, under which the account is that subject.
    pub issuer: Option<String>,
}

/// Whether a connection's tokens can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionState {
    /// They can, as far as is known here.
    Connected,
    /// They are handed out once, as a [`SingleUseToken`](crate::SingleUseToken), and never kept.
    SingleUse,
    /// It was never granted, or was taken back.
    NotConnected,
    /// The provider refused it for good, granted less than is always asked for, or gave tokens that are over and
    /// cannot be renewed.
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
