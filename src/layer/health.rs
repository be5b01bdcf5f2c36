//! Readiness: whether the store and the providers answer.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::provider::Provider;
use crate::state::Runtime;
use crate::store::StoreErrorKind;

pub use crate::provider::cached::Readiness;

/// A probe waits no longer than this: whoever probes has a deadline too, often of a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of the layer, for the application's own readiness route. See
/// [`OidcLayer::health`](crate::OidcLayer::health).
///
/// It shows which part fails and not the reason: reasons are in the events, and the response to a probe may be public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The store of sessions and grants: it answers, the configured secrets open its records, and it accepts writes.
    pub store: Readiness,
    /// The OpenID Providers.
    pub providers: Vec<ProviderHealth>,
}

/// The state of one OpenID Provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProviderHealth {
    /// Its issuer.
    pub issuer: String,
    /// Its metadata (OpenID Connect Discovery 1.0): without it no login can start.
    pub metadata: Readiness,
    /// Its key set (RFC 7517): without it no ID token can be verified.
    pub key_set: Readiness,
}

impl Health {
    /// Whether this process should receive requests: the store answers and accepts writes.
    ///
    /// An unavailable provider does not count. It is unavailable for every process, does not affect users who are
    /// signed in, and taking all processes out of service would not help.
    pub fn is_ready(&self) -> bool {
        self.store == Readiness::Ready
    }
}

pub(crate) async fn health(runtime: &Runtime) -> Health {
    let probes: Vec<_> = runtime.providers.all().map(|each| tokio::spawn(probe(Arc::clone(each)))).collect();
    let store = match tokio::time::timeout(PATIENCE, runtime.records.probe()).await {
        Ok(Ok(())) => Readiness::Ready,
        Ok(Err(error)) if error.kind() == StoreErrorKind::Refused => Readiness::Refused,
        Ok(Err(_)) | Err(_) => Readiness::Unavailable,
    };
    let mut providers = Vec::new();
    for (provider, probe) in runtime.providers.all().zip(probes) {
        let _ = probe.await;
        let (metadata, key_set) = provider.readiness();
        providers.push(ProviderHealth { issuer: provider.relying_party.issuer.url.clone(), metadata, key_set });
    }
    Health { store, providers }
}

/// Asks a provider that was never reached, as seldom as logins would; of one that was, what is known counts.
async fn probe(provider: Arc<Provider>) {
    let _ = tokio::time::timeout(PATIENCE, provider.ready()).await;
}
