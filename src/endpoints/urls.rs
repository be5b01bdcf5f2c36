//! The addresses of the endpoints, with their queries.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::destination::Destination;
use crate::config::settings::encoded;
use crate::protocol::authorization::LoginOptions;
use crate::provider::Provider;
use crate::sessions::session::Session;
use crate::state::Runtime;

/// The address of a login; without a provider that of the choice, where there is one.
pub(crate) fn path(
    runtime: &Runtime,
    provider: Option<&Provider>,
    destination: &Destination,
    options: &LoginOptions,
) -> String {
    let mut path = runtime.settings.login_path(destination);
    if let Some(provider) = provider.filter(|_| runtime.providers.several_logins()) {
        path.push_str(&format!("&provider={}", encoded(&provider.relying_party.name)));
    }
    path + &query(options)
}

/// Options as they stand in a login's address.
pub(crate) fn query(options: &LoginOptions) -> String {
    let mut query = String::new();
    let mut push = |name: &str, value: &str| query.push_str(&format!("&{name}={}", encoded(value)));
    if let Some(prompt) = options.prompt {
        push("prompt", prompt.as_str());
    }
    if let Some(max_age) = options.max_age {
        push("max_age", &max_age.as_secs().to_string());
    }
    if let Some(hint) = &options.login_hint {
        push("login_hint", hint);
    }
    if !options.acr_values.is_empty() {
        push("acr_values", &options.acr_values.join(" "));
    }
    query
}

/// The path that ends this session and then goes to the destination.
pub(crate) fn logout_path(runtime: &Runtime, session: Option<&Session>, destination: &Destination) -> String {
    let path = runtime.settings.path_to("logout");
    let token = session.map(|session| format!("&token={}", URL_SAFE_NO_PAD.encode(session.logout_token)));
    format!("{path}?return_to={}{}", encoded(destination.as_str()), token.unwrap_or_default())
}

/// The address that asks the person to grant a connection.
pub(crate) fn connect_path(runtime: &Runtime, connection: &str, destination: &Destination) -> String {
    let connect = runtime.settings.path_to("connect");
    format!("{connect}?connection={}&return_to={}", encoded(connection), encoded(destination.as_str()))
}

/// The same, with what is needed besides.
pub(crate) fn connect_path_with(
    runtime: &Runtime,
    connection: &str,
    destination: &Destination,
    more_scopes: &[String],
    options: &LoginOptions,
) -> String {
    let mut address = connect_path(runtime, connection, destination);
    if !more_scopes.is_empty() {
        address.push_str(&format!("&scope={}", encoded(&more_scopes.join(" "))));
    }
    address + &query(options)
}

/// What the address of a connection for one use has besides.
pub(crate) const fn once_in(once: bool) -> &'static str {
    if once { "&once=1" } else { "" }
}
