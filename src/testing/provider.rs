//! The development provider of a layer.

use crate::config::Config;
use crate::dev_provider::DevProvider;
use crate::layer::OidcLayer;

/// A configuration with the development provider, for tests in one process. No address is bound, and no request is
/// refused for its `Host` or its peer.
pub fn development_config(public_url: impl Into<String>) -> Config {
    let config = Config::development(([127, 0, 0, 1], 3000)).dangerously_allow_any_address();
    Config { public_url: public_url.into(), ..config }
}

/// The layer's own development provider, to script its answers; `None` if the configuration names another issuer.
///
/// ```
/// use tower_oidc::dev_provider::ScriptedLogin;
/// use tower_oidc::store::MemoryStore;
/// use tower_oidc::{OidcLayer, testing};
///
/// let auth = OidcLayer::per_user(testing::development_config("http://localhost:3000"), MemoryStore::new())?;
/// let provider = testing::development_provider(&auth).expect("the configuration names it");
/// // Every login at the provider now returns as this user, without a page.
/// provider.script(Some(ScriptedLogin::SignIn { email: "ann@example.test".into(), admin: false }));
/// # Ok::<(), tower_oidc::ConfigError>(())
/// ```
pub fn development_provider(layer: &OidcLayer) -> Option<DevProvider> {
    layer.runtime.development.clone()
}
