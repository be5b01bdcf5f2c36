//! Logout tokens come from callers whom nobody knows: whatever they show, the provider is asked no more than it bears.

use std::sync::Arc;

use super::error::ProviderError;
use super::{KEY_SET_THROTTLE, Provider};
use crate::protocol::logout_token::{LogoutToken, LogoutTokenError, LogoutTokenPolicy, verify};

impl Provider {
    /// Verifies a logout token with the provider's keys. Where a key is unknown they are read again, as often as for
    /// logins, and apart from them: a login that meets a new key never waits because of what a stranger sent.
    pub(crate) async fn verify_logout_token(
        self: &Arc<Self>,
        logout_token: &str,
    ) -> Result<LogoutToken, ProviderError> {
        let metadata = self.metadata().await?;
        let expected = LogoutTokenPolicy {
            issuer: &metadata.issuer,
            client_id: &self.relying_party.client_id,
            trusted_audiences: &self.relying_party.trusted_audiences,
            algorithms: &metadata.algorithms,
            now: self.clock.now(),
        };
        let keys = self.keys.get_or_fetch(async || self.fetch_keys(&metadata).await).await?;
        match verify(logout_token, &keys, &expected) {
            Err(LogoutTokenError::UnknownKey) => {
                let fetch = async || self.fetch_keys(&metadata).await;
                let keys = self.keys_for_anybody.refetch(KEY_SET_THROTTLE, fetch).await?;
                Ok(verify(logout_token, &keys, &expected)?)
            }
            verified => Ok(verified?),
        }
    }
}
