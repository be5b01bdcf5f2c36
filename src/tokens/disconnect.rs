//! The end of tokens: a grant is taken back, here first, then at the provider; and tokens that came and are not kept.

use super::locate::GrantRef;
use crate::events::EventCode;
use crate::protocol::TokenResponse;
use crate::provider::{Provider, ProviderError};
use crate::secret::Secret;
use crate::state::Runtime;
use crate::store::StoreError;
use crate::tokens::Arc;

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
    let runtime = Arc::clone(&place.runtime);
    // A browser that goes away does not keep the token alive.
    let disconnecting = runtime.wholly(async move {
        // First here: whatever the provider does, nobody gets a token of it any more.
        let (grant, deleted) = place.take().await?;
        place.runtime.events().emit(EventCode::Disconnected, place.owner.user(), &place.connection);
        let Some(grant) = grant.filter(|grant| place.holds(grant)) else {
            return Ok(if deleted { DisconnectOutcome::Forgotten } else { DisconnectOutcome::NotConnected });
        };
        let provider = place.provider();
        let access_token = grant.token_sets.first().map(|set| &set.access_token);
        let Some(revoked) = revoke(provider, grant.refresh_token.as_ref(), access_token).await else {
            return Ok(DisconnectOutcome::Forgotten);
        };
        let offered = provider.metadata().await.is_ok_and(|metadata| metadata.revocation_endpoint.is_some());
        Ok(match revoked {
            Ok(()) if offered => DisconnectOutcome::Revoked,
            Ok(()) => DisconnectOutcome::Forgotten,
            Err(_) => DisconnectOutcome::NotRevoked,
        })
    });
    disconnecting.await
}

/// Why tokens are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// The person or the application wants them ended.
    TakenBack,
    /// They are refused, and the same tokens would be refused again.
    Refused,
    /// Something failed that may work in a moment. That says nothing against the tokens, or what the person granted before.
    Failed,
}

/// Revokes tokens (RFC 7009), best effort, or drops them. At some providers a revocation ends all that the person has
/// granted to this application, in other browsers too: what nobody took back is revoked only where the configuration
/// says that the provider's revocation reaches that token alone.
pub(crate) async fn discard(
    runtime: &Runtime, provider: &Arc<Provider>, tokens: &TokenResponse, user: Option<(&str, &str)>, why: Unkept,
) {
    let dropped = match why {
        Unkept::Failed => Some("something failed for a moment: the tokens that came are dropped and not revoked"),
        Unkept::Refused if !provider.relying_party.revocation_is_per_token => Some(
            "the tokens that came are refused, and dropped without revocation: revocation_is_per_token is not set for \
             this provider",
        ),
        Unkept::Refused | Unkept::TakenBack => None,
    };
    if let Some(detail) = dropped {
        runtime.events().emit(EventCode::TokensDropped, user, detail);
        return;
    }
    let _ = revoke(provider, tokens.refresh_token.as_ref(), Some(&tokens.access_token)).await;
}

/// Revokes the refresh token (RFC 7009), with which the provider should end the access tokens too; where there is none, the
/// access token. `None` where there is neither.
pub(crate) async fn revoke(
    provider: &Arc<Provider>, refresh_token: Option<&Secret>, access_token: Option<&Secret>,
) -> Option<Result<(), ProviderError>> {
    let refresh_token = refresh_token.map(|token| (token, "refresh_token"));
    let (token, hint) = refresh_token.or(access_token.map(|token| (token, "access_token")))?;
    Some(provider.revoke(token, hint).await)
}
