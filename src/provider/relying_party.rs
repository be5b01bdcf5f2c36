//! This application as its providers know it.

use std::ops::Deref;
use std::sync::Arc;

use url::Url;

use super::private_key::ClientKeys;
use super::provider_config::ProviderConfig;
use crate::protocol::{Algorithm, ClientAuthMethod, Metadata, MetadataError, ProviderIssuer};

/// Which provider, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProviderId(pub(crate) usize);

impl ProviderId {
    /// That of the configuration's own fields.
    pub(crate) const FIRST: Self = Self(0);
}

/// This application as one provider knows it, checked. What needs no other form is read as it was written.
#[derive(Clone, Debug)]
pub(crate) struct RelyingParty {
    pub(crate) written: ProviderConfig,
    pub(crate) id: ProviderId,
    pub(crate) display_name: String,
    pub(crate) issuer: ProviderIssuer,
    /// Stands for the issuer in the URLs that the application itself calls.
    pub(crate) internal_url: Option<Url>,
    /// The `iss` of its authorization responses.
    pub(crate) response_issuer: ProviderIssuer,
    /// Issuer and client id, as one: what grants are bound to.
    pub(crate) client: [u8; 32],
    pub(crate) redirect_uri: String,
    /// Claims that rules of the configuration decide by, and the login hook.
    pub(crate) decisive: Vec<String>,
    /// The one algorithm of ID and logout tokens, where it is configured.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) keys: Arc<ClientKeys>,
}

impl RelyingParty {
    /// How the application authenticates at a provider with this metadata. What is configured counts, whatever is announced.
    pub(crate) fn client_auth_method(&self, metadata: &Metadata) -> Result<ClientAuthMethod, MetadataError> {
        let (announced, possible) = (&metadata.client_auth_methods, self.client_auth_methods());
        let method = self.client_auth.or_else(|| ClientAuthMethod::announced(announced, &possible));
        let names = || possible.iter().map(|method| method.name()).collect();
        method.ok_or_else(|| MetadataError::ClientAuth(announced.clone(), names()))
    }

    /// The `aud` of client assertions: the issuer, because no other provider can make this application send it an assertion
    /// that counts here (draft-ietf-oauth-rfc7523bis).
    pub(crate) fn assertion_audience(&self) -> &str {
        self.client_assertion_audience.as_deref().unwrap_or(&self.response_issuer.url)
    }
}

impl Deref for RelyingParty {
    type Target = ProviderConfig;

    fn deref(&self) -> &ProviderConfig {
        &self.written
    }
}
