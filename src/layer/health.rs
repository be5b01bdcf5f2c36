//! Readiness: what this process needs of others, and whether it has it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::provider::Provider;
use crate::state::Runtime;

pub use crate::provider::cached::Readiness;

/// A probe waits no longer than this: whoever probes has a deadline too, often of a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the layer stands, for the application's own readiness route. See
/// [`OidcLayer::health`](crate::OidcLayer::health).
///
/// It says what is wrong and not why: the reasons are in the events, and a probe's answer may be public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Where sessions and grants are kept: it answers, the configured secrets open what it holds, and it takes writes.
    pub store: Readiness,
    /// The OpenID Providers.
    pub providers: Vec<ProviderHealth>,
}

/// What is known of one OpenID Provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProviderHealth {
    /// Its issuer.
    pub issuer: String,
    /// Its metadata (OpenID Connect Discovery 1.0): without it nobody can begin to sign in.
    pub metadata: Readiness,
    /// Its keys: without them no ID token can be verified.
    pub key_set: Readiness,
}

impl Health {
    /// Whether requests should come to this process: the store answers and takes writes.
    ///
    /// A provider that is away is not counted. It is away for every process alike, people who are signed in do not
    /// notice, and taking all processes out of service would not bring it back.
    pub fn is_ready(&self) -> bool {
        self.store == Readiness::Ready
    }
}

pub(crate) async fn health(runtime: &Runtime) -> Health {
    let probes: Vec<_> = runtime.providers.all().map(|each| tokio::spawn(probe(Arc::clone(each)))).collect();
    let store = store(runtime).await;
    let mut providers = Vec::new();
    for (provider, probe) in runtime.providers.all().zip(probes) {
        let _ = probe.await;
        let (metadata, key_set) = provider.readiness();
        providers.push(ProviderHealth { issuer: provider.relying_party.issuer.clone(), metadata, key_set });
    }
    Health { store, providers }
}

async fn store(runtime: &Runtime) -> Readiness {
    match tokio::time::timeout(PATIENCE, runtime.records.probe()).await {
        Ok(Ok(())) => Readiness::Ready,
        Ok(Err(_)) | Err(_) => Readiness::Unavailable,
    }
}

/// Asks a provider that was never reached, as seldom as logins would; of one that was, what is known counts.
async fn probe(provider: Arc<Provider>) {
    let _ = tokio::time::timeout(PATIENCE, provider.ready()).await;
}
