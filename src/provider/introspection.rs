//! Opaque access tokens that clients send: the provider is asked (RFC 7662).

use std::sync::Arc;

use http::StatusCode;

use super::error::ProviderError;
use super::{Provider, refusal};
use crate::protocol::access_token::{self};
use crate::protocol::{BearerToken, json};
use crate::secret::Secret;

impl Provider {
    /// Asks about an access token for this application as an API.
    pub(crate) async fn introspect(
        self: &Arc<Self>, token: &Secret, audience: &str,
    ) -> Result<BearerToken, ProviderError> {
        let known = self.metadata().await?;
        if known.introspection_endpoint.is_none() {
            return Err(ProviderError::unavailable("its metadata name no introspection_endpoint"));
        }
        let (url, answer) = self.post(&known, known.introspection(token)).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(url, &answer, None));
        }
        let claims = json::object(answer.body()).ok_or(ProviderError::Malformed("introspection response"))?;
        let (issuer, now) = (&self.relying_party.issuer, self.clock.now());
        access_token::from_introspection(claims, audience, issuer, now).map_err(ProviderError::AccessToken)
    }
}
