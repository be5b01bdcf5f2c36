//! Taking a grant back: here first, then at the provider.

use super::discard::revoke;
use super::locate::GrantRef;
use crate::events::EventCode;
use crate::store::StoreError;

/// What became of a connection that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectOutcome {
    /// There was nothing to take back.
    NotConnected,
    /// It is gone here, and the provider has revoked the token.
    Revoked,
    /// It is gone here. The provider offers no revocation, or there was no token to revoke.
    Forgotten,
    /// It is gone here, and the provider did not revoke the token: it lives there until it expires.
    NotRevoked,
}

/// Deletes the grant, then has its token revoked.
pub(crate) async fn disconnect(place: GrantRef) -> Result<DisconnectOutcome, StoreError> {
    // In a task of its own: a browser that goes away does not keep the token alive.
    let tasks = place.runtime.tasks.clone();
    let disconnected = tasks.spawn(async move { disconnect_now(&place).await }).await;
    disconnected
        .unwrap_or_else(|error| Err(StoreError::outcome_unknown("the task that asked it ended", error)))
}

async fn disconnect_now(place: &GrantRef) -> Result<DisconnectOutcome, StoreError> {
    // First here: whatever the provider does, nobody gets a token of it any more.
    let (grant, deleted) = place.take().await?;
    place.runtime.events().emit(EventCode::Disconnected, place.owner.user(), &place.connection);
    let Some(grant) = grant.filter(|grant| place.holds(grant)) else {
        return Ok(if deleted { DisconnectOutcome::Forgotten } else { DisconnectOutcome::NotConnected });
    };
    let provider = place.provider();
    let offered = provider.metadata().await.is_ok_and(|metadata| metadata.revocation_endpoint.is_some());
    let access_token = grant.token_sets.first().map(|set| &set.access_token);
    Ok(match revoke(provider, grant.refresh_token.as_ref(), access_token).await {
        Some(Ok(())) if offered => DisconnectOutcome::Revoked,
        Some(Ok(())) | None => DisconnectOutcome::Forgotten,
        Some(Err(_)) => DisconnectOutcome::NotRevoked,
    })
}
