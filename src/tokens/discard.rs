//! Tokens that came and are not kept: whether the provider is asked to revoke them.

use crate::events::EventCode;
use crate::protocol::token::TokenResponse;
use crate::provider::Provider;
use crate::provider::error::ProviderError;
use crate::secret::Secret;
use crate::state::Runtime;
use crate::tokens::Arc;

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
    runtime: &Runtime,
    provider: &Arc<Provider>,
    tokens: &TokenResponse,
    user: Option<(&str, &str)>,
    why: Unkept,
) {
    let dropped = match why {
        Unkept::Failed => {
            Some("something failed for a moment: the tokens that came are dropped and not revoked")
        }
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
    provider: &Arc<Provider>,
    refresh_token: Option<&Secret>,
    access_token: Option<&Secret>,
) -> Option<Result<(), ProviderError>> {
    let refresh_token = refresh_token.map(|token| (token, "refresh_token"));
    let (token, hint) = refresh_token.or(access_token.map(|token| (token, "access_token")))?;
    Some(provider.revoke(token, hint).await)
}
