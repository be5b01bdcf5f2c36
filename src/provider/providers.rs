//! The providers at which this application is registered: each found by what may name it, and by nothing else.

use std::sync::Arc;

use super::Provider;
use super::relying_party::ProviderId;

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
