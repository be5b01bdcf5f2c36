//! The development provider of a layer, and whole logins at it.

#![expect(clippy::panic, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};

use crate::config::Config;
use crate::dev_provider::{DevProvider, ScriptedLogin};
use crate::endpoints::endpoint;
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

/// Signs a user in at the layer's development provider, and follows the redirects as a browser does: the callback, the login hook
/// and the first tokens run as in production. Returns the value of the `Cookie` header that the browser then sends.
///
/// The script takes the person's place at the provider until the next one ([`DevProvider::script`]).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_oidc::ConfigError> {
/// use tower_oidc::dev_provider::ScriptedLogin;
/// use tower_oidc::store::MemoryStore;
/// use tower_oidc::{OidcLayer, testing};
///
/// let auth = OidcLayer::per_user(testing::development_config("http://localhost:3000"), MemoryStore::new())?;
/// let ann = ScriptedLogin::SignIn { email: "ann@example.test".into(), admin: false };
/// let cookie = testing::log_in(&auth, ann).await.expect("ann is signed in");
/// let (status, _) = testing::log_in(&auth, ScriptedLogin::Deny).await.expect_err("nobody is");
/// assert_eq!(status, 403);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The status and the page of the answer that ended the login in another way, such as the login hook's refusal.
///
/// # Panics
///
/// If the layer has no development provider.
pub async fn log_in(layer: &OidcLayer, login: ScriptedLogin) -> Result<String, (StatusCode, String)> {
    let (runtime, settings) = (&layer.runtime, &layer.runtime.settings);
    let provider = runtime.development.as_ref().unwrap_or_else(|| panic!("the layer has no development provider"));
    provider.script(Some(login));
    let mut address = format!("{}?provider={}", settings.path_to("login"), settings.relying_parties[0].name);
    let mut cookies = BTreeMap::new();
    loop {
        let sent = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = Request::get(&address).header(HOST, settings.public_url.authority()).header(COOKIE, &sent);
        let request = request.body(()).unwrap_or_else(|error| panic!("{address}: {error}"));
        let path = request.uri().path().to_owned();
        let Some(name) = settings.endpoint(&path) else { return Ok(sent) };
        let answer = endpoint(runtime, name, request.into_parts().0, Bytes::new()).await;
        for set in answer.headers().get_all(SET_COOKIE) {
            let pair = String::from_utf8_lossy(set.as_bytes());
            let (name, value) = pair.split(';').next().and_then(|pair| pair.split_once('=')).unwrap_or_default();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        // What is removed is set to nothing.
        cookies.retain(|_, value| !value.is_empty());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Some(location) = answer.headers().get(LOCATION) else { return Err((answer.status(), text(answer.body()))) };
        address = text(location.as_bytes());
    }
}
