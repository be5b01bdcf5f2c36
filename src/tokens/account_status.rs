//! How the account that serves the whole application stands at each of its connections.

use serde::Serialize;

use super::access_token;
use super::locate::Principal;
use super::lookup::{TokenRequest, TokenUnavailable};
use crate::clock::Timestamp;
use crate::config::{AccountSource, CheckedConnection, CheckedConnections, SharedAccount};
use crate::provider::ProviderId;
use crate::state::Runtime;
use crate::tokens::{Arc, Duration};

/// How the account stands at one connection. See [`OidcLayer::account_status`](crate::OidcLayer::account_status).
///
/// It is serialised with the names of its fields, for a page of the operator: `state` in snake case, `expires_at` in
/// milliseconds since the Unix epoch, and what is not known as `null`.
///
/// ```json
/// {"connection": "login", "state": "needs_operator", "expires_at": 1767225600000, "subject": "robot", "why": "..."}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccountStatus {
    /// The connection; `login` for the configuration's own resources.
    pub connection: String,
    /// Whether it works, for every one of the connection's resources.
    pub state: AccountState,
    /// When the first of its access tokens expires, where the provider says so. It is renewed before that.
    pub expires_at: Option<Timestamp>,
    /// Who granted it, where that is known: a subject at the provider.
    pub subject: Option<String>,
    /// What is wrong, for the operator. No secret is in it.
    pub why: Option<String>,
}

/// Whether the account works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountState {
    /// There is a token.
    Connected,
    /// The operator must act: there is no token until then, or there will be none after the next restart.
    NeedsOperator,
    /// The provider or the store is away, and it will work later.
    Unavailable,
}

/// A status waits for the provider no longer than this: whoever asks has a deadline too.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is said once a rotated refresh token is in memory only.
pub(crate) const ROTATED: &str = "the provider has rotated the account's refresh token, and the store does not outlive this process: use a durable \
     store, because at the next start the configured token is worth nothing";

/// How the account stands at each connection that serves something; nothing where people have their own tokens.
pub(crate) async fn status(runtime: &Arc<Runtime>) -> Vec<AccountStatus> {
    let mut statuses = Vec::new();
    let Some(principal) = Principal::shared(&runtime.mode) else { return statuses };
    let remedy = principal.account(runtime).map_or("", SharedAccount::remedy);
    for (connection, wants) in used(runtime.settings.connections(ProviderId::FIRST)) {
        let checked = tokio::time::timeout(PATIENCE, check(runtime, &principal, connection, &wants)).await;
        let checked = checked.unwrap_or_else(|_| Err(TokenUnavailable::Unavailable("no answer yet".into())));
        statuses.push(checked.unwrap_or_else(|no_token| {
            let (state, why) = match no_token {
                TokenUnavailable::Consent => (AccountState::NeedsOperator, remedy.to_owned()),
                TokenUnavailable::Unavailable(cause) => (AccountState::Unavailable, cause.to_string()),
                TokenUnavailable::Operator(cause) => (AccountState::NeedsOperator, cause.to_string()),
            };
            let connection = connection.name.clone();
            AccountStatus { connection, state, expires_at: None, subject: None, why: Some(why) }
        }));
    }
    statuses
}

impl SharedAccount {
    /// What an operator does where there is no token.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.source {
            AccountSource::ClientCredentials => {
                "the provider refuses the application's own credentials: look at its registration there, and at the \
                 scopes"
            }
            AccountSource::RefreshToken(_) => {
                "the provider refuses the account's refresh token, or did not grant what is asked for: configure \
                 another one (ACCOUNT_REFRESH_TOKEN); where the events say that it refuses the application itself, \
                 mend its registration there"
            }
            AccountSource::Admin => {
                "an admin connects the account at /auth/connect, below the public URL; where the events say that the \
                 provider refuses the application itself, first mend its registration there"
            }
        }
    }
}

/// The connections with whose tokens APIs are called, and what is wanted of each.
fn used(connections: &CheckedConnections) -> Vec<(&CheckedConnection, Vec<TokenRequest>)> {
    let all = connections.all.iter().map(|connection| (connection, wants(connections, connection)));
    let mut used: Vec<_> = all.filter(|(_, wants)| !wants.is_empty()).collect();
    if used.is_empty() {
        // Without any API, the login's token still goes to where the provider says who it belongs to.
        let whole = |login: &CheckedConnection| vec![TokenRequest::new(None, login.scopes.clone())];
        used.extend(connections.all.first().map(|login| (login, whole(login))));
    }
    used
}

/// What requests want of a connection: a token for all that has no indicator, and one for each that has.
fn wants(connections: &CheckedConnections, connection: &CheckedConnection) -> Vec<TokenRequest> {
    let mut wants: Vec<TokenRequest> = Vec::new();
    for source in connections.resources.of(&connection.name) {
        if wants.iter().all(|request| request.indicator != source.indicator) {
            wants.push(TokenRequest::new(source.indicator.clone(), source.scopes.clone()));
        }
    }
    wants
}

/// Asks for tokens as requests would: an account that nobody has used yet is not said to work.
async fn check(
    runtime: &Arc<Runtime>, account: &Principal, connection: &CheckedConnection, wants: &[TokenRequest],
) -> Result<AccountStatus, TokenUnavailable> {
    let place = runtime.grant_place(account.owner(), connection, None).await?;
    let mut expires_at: Option<Timestamp> = None;
    let mut away = Ok(());
    for request in wants {
        match access_token(&place, request).await {
            Ok(token) => expires_at = expires_at.into_iter().chain(token.expires_at).min(),
            // What only an operator can mend is not hidden by what passes.
            Err(TokenUnavailable::Consent) => return Err(TokenUnavailable::Consent),
            Err(unavailable) => away = Err(unavailable),
        }
    }
    away?;
    let grant = place.stored().await?.ok_or(TokenUnavailable::Consent)?;
    let at_risk = grant.has_left_its_seed() && !runtime.records.is_durable();
    Ok(AccountStatus {
        connection: connection.name.clone(),
        state: if at_risk { AccountState::NeedsOperator } else { AccountState::Connected },
        expires_at,
        subject: grant.original.as_ref().map(|facts| facts.subject.clone()),
        why: at_risk.then(|| ROTATED.to_owned()),
    })
}
