//! The development provider that a layer brought along.

use crate::config::Config;
use crate::dev_provider::DevProvider;
use crate::layer::OidcLayer;

/// The development provider for tests in one process: no address is bound, and no request is refused for its `Host` or
/// its peer.
pub fn development_config(public_url: impl Into<String>) -> Config {
    let config = Config::development(([127, 0, 0, 1], 3000)).dangerously_allow_any_address();
    Config { public_url: public_url.into(), ..config }
}

/// The layer's own development provider, to be told how it answers; `None` where another issuer is configured.
///
/// ```
/// use tower_oidc::dev_provider::ScriptedLogin;
/// use tower_oidc::store::MemoryStore;
/// use tower_oidc::{OidcLayer, testing};
///
/// let auth = OidcLayer::per_user(testing::development_config("http://localhost:3000"), MemoryStore::new())?;
/// let provider = testing::development_provider(&auth).expect("it was asked for");
/// // Whoever is sent to the provider now comes back as this person, without a page.
/// provider.script(Some(ScriptedLogin::SignIn { email: "ann@example.test".into(), admin: false }));
/// # Ok::<(), tower_oidc::ConfigError>(())
/// ```
pub fn development_provider(layer: &OidcLayer) -> Option<DevProvider> {
    layer.runtime.development.clone()
}
