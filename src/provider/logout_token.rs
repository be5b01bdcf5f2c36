//! Logout tokens come from callers whom nobody knows: whatever they show, the provider is asked no more than it bears.

use std::sync::Arc;

use super::Provider;
use super::error::ProviderError;
use crate::protocol::logout_token::{LogoutToken, verify};

impl Provider {
    /// Verifies a logout token with the provider's keys. Where a key is unknown they are read again, as often as for
    /// logins, and apart from them: a login that meets a new key never waits because of what a stranger sent.
    pub(crate) async fn verify_logout_token(
        self: &Arc<Self>,
        logout_token: &str,
    ) -> Result<LogoutToken, ProviderError> {
        self.with_keys(&self.keys_for_anybody, |keys, expected| Ok(verify(logout_token, keys, expected)?))
            .await
    }
}
