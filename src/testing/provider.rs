//! The development provider that a layer brought along.

use crate::dev_provider::DevProvider;
use crate::layer::OidcLayer;

/// The layer's own development provider, to be told how it answers; `None` where an issuer is configured.
///
/// ```
/// use tower_oidc::dev_provider::Answer;
/// use tower_oidc::store::MemoryStore;
/// use tower_oidc::{Config, OidcLayer, testing};
///
/// let auth = OidcLayer::per_user(Config::development("http://localhost:3000"), MemoryStore::new())?;
/// let provider = testing::development_provider(&auth).expect("no issuer is configured");
/// // Whoever is sent to the provider now comes back as this person, without a page.
/// provider.script(Some(Answer::SignIn { email: "ann@example.test".into(), admin: false }));
/// # Ok::<(), tower_oidc::ConfigError>(())
/// ```
pub fn development_provider(layer: &OidcLayer) -> Option<DevProvider> {
    layer.runtime.development.clone()
}
