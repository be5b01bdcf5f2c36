//! This application as its providers know it, and the providers: each found by what may name it, and by nothing else.

use std::sync::Arc;

use url::Url;

use super::Provider;
use super::private_key::ClientKeys;
use super::provider_config::ProviderConfig;
use crate::error::DestinationError;
use crate::protocol::authorization::MOST_PARAMETERS;
use crate::protocol::{Algorithm, ClientAuthMethod, LoginOptions, Metadata, MetadataError, ProviderIssuer};
use crate::secret::derefs;

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
}

derefs!(RelyingParty => written: ProviderConfig);

/// Every provider, in the order of the configuration. The first is always there.
pub(crate) struct Providers(Vec<Arc<Provider>>);

impl Providers {
    pub(crate) fn new(providers: impl Iterator<Item = Provider>) -> Self {
        Self(providers.map(Arc::new).collect())
    }

    pub(crate) fn get(&self, id: ProviderId) -> &Arc<Provider> {
        &self.0[id.0]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.0.iter()
    }

    /// Where the person of a session signed in; `None` when people do not sign in there any more.
    pub(crate) fn of_issuer(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.logins().find(|provider| provider.relying_party.issuer.covers(issuer))
    }

    /// Where people sign in.
    pub(crate) fn logins(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.0.iter().filter(|provider| provider.relying_party.login)
    }

    /// The provider that a login's address names. It is a name of the configuration, never an address.
    pub(crate) fn login_named(&self, name: &str) -> Option<&Arc<Provider>> {
        self.logins().find(|provider| provider.relying_party.name == name)
    }

    /// Whether a login at this provider or, where none is named, at any of them, may add this parameter.
    pub(crate) fn allow(&self, at: Option<&Provider>, parameter: &str) -> bool {
        let allows = |one: &Provider| one.relying_party.login_parameters.iter().any(|name| name == parameter);
        at.map_or_else(|| self.logins().any(|one| allows(one)), allows)
    }

    /// Checks the parameters that a login adds.
    pub(crate) fn check(&self, at: Option<&Provider>, options: &LoginOptions) -> Result<(), DestinationError> {
        let length: usize = options.parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        match options.parameters.keys().find(|name| !self.allow(at, name)) {
            Some(name) => Err(DestinationError::ParameterNotAllowed(name.clone())),
            None if length > MOST_PARAMETERS => Err(DestinationError::ParametersTooLong(length)),
            None => Ok(()),
        }
    }

    /// Whether people choose where they sign in.
    pub(crate) fn several_logins(&self) -> bool {
        self.logins().nth(1).is_some()
    }

    /// The provider whose responses arrive here: `callback` where there is one, `callback/{name}` where there are more.
    pub(crate) fn at_callback(&self, name: Option<&str>) -> Option<&Arc<Provider>> {
        match (self.0.as_slice(), name) {
            ([only], None) => Some(only),
            ([_, _, ..], Some(name)) => self.0.iter().find(|provider| provider.relying_party.name == name),
            _ => None,
        }
    }
}
