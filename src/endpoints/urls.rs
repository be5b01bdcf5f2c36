//! The addresses of the endpoints, with their queries.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Destination;
use crate::html::encoded;
use crate::protocol::LoginOptions;
use crate::provider::Provider;
use crate::records::encode;
use crate::sessions::{Session, Visitor};
use crate::state::Runtime;

/// The address of a login; without a provider that of the choice, where there is one.
pub(crate) fn path(runtime: &Runtime, provider: Option<&Provider>, to: &Destination, options: &LoginOptions) -> String {
    let mut options = options.clone();
    options.parameters.retain(|name, _| runtime.providers.allow(provider, name));
    let mut path = runtime.settings.login_path(to);
    if let Some(provider) = provider.filter(|_| runtime.providers.several_logins()) {
        path.push_str(&format!("&provider={}", encoded(&provider.relying_party.name)));
    }
    path + &query(&options)
}

/// Options as they stand in a login's address.
pub(crate) fn query(options: &LoginOptions) -> String {
    let LoginOptions { prompt, max_age, login_hint, acr_values, parameters } = options;
    let acr_values = (!acr_values.is_empty()).then(|| acr_values.join(" "));
    let given = [
        ("prompt", prompt.map(|prompt| prompt.as_str().to_owned())),
        ("max_age", max_age.map(|max_age| max_age.as_secs().to_string())),
        ("login_hint", login_hint.clone()),
        ("acr_values", acr_values),
    ];
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), Some(value.clone())));
    let parameter = |(name, value): (&str, Option<String>)| Some(format!("&{}={}", encoded(name), encoded(&value?)));
    given.into_iter().chain(parameters).filter_map(parameter).collect()
}

/// The path that ends this session and then goes to the destination.
pub(crate) fn logout_path(runtime: &Runtime, session: Option<&Session>, destination: &Destination) -> String {
    let path = runtime.settings.path_to("logout");
    let token = session.map(|session| format!("&token={}", URL_SAFE_NO_PAD.encode(session.logout_token)));
    format!("{path}?return_to={}{}", encoded(destination.as_str()), token.unwrap_or_default())
}

/// The address of an endpoint that does something about a connection.
pub(crate) fn path_for(runtime: &Runtime, endpoint: &str, connection: &str, to: &Destination) -> String {
    let path = runtime.settings.path_to(endpoint);
    format!("{path}?connection={}&return_to={}", encoded(connection), encoded(to.as_str()))
}

/// The address that asks the person to grant a connection, with what is needed besides.
pub(crate) fn connect_path_with(
    runtime: &Runtime, connection: &str, destination: &Destination, more_scopes: &[String], options: &LoginOptions,
) -> String {
    let mut address = path_for(runtime, "connect", connection, destination);
    if !more_scopes.is_empty() {
        address.push_str(&format!("&scope={}", encoded(&more_scopes.join(" "))));
    }
    address + &query(options)
}

/// What the address of a connection for one use has besides.
pub(crate) const fn once_in(once: bool) -> &'static str {
    if once { "&once=1" } else { "" }
}

/// The end of the address of a login that is begun because the provider gave up the one before it.
pub(crate) const AGAIN: &str = "&again=1";

/// The beginning of the query of a login that was led from another name of this machine to the public URL's. Where it comes
/// under the other name all the same, a proxy changes it.
pub(crate) const LED: &str = "at=public&";

/// The parameter with the proof, which stands last.
const PROOF: &str = "&proof=";

/// The key of the proofs in addresses for the user of this session or, without one, for this visitor.
pub(crate) fn proof_key(session: Option<&Session>, visitor: Option<Visitor>) -> Option<Vec<u8>> {
    let session = session.map(|session| session.logout_token.to_vec());
    session.or_else(|| visitor.map(|visitor| visitor.bytes().to_vec()))
}

/// The address of an endpoint with the proof that it was made here, for this user, as it stands: no other site can make
/// one, and a part of it that is changed makes it void.
pub(crate) fn with_proof(runtime: &Runtime, key: Option<&[u8]>, address: String) -> String {
    let base = runtime.settings.path_to("");
    match (key, address.strip_prefix(&base)) {
        (Some(key), Some(asked)) => format!("{address}{PROOF}{}", proof(key, asked)),
        _ => address,
    }
}

/// Whether the query of a request for an endpoint ends with the proof that this key makes for the rest of it.
pub(crate) fn is_proven(key: &[u8], endpoint: &str, query: &str) -> bool {
    let Some((asked, given)) = query.rsplit_once(PROOF) else { return false };
    proof(key, &format!("{endpoint}?{asked}")).as_bytes().ct_eq(given.as_bytes()).into()
}

/// Half of a hash is enough for a proof, and does not tell how the hash of a longer address begins.
fn proof(key: &[u8], asked: &str) -> String {
    let hash = Sha256::digest(encode(&[b"proof", key, asked.as_bytes()]));
    URL_SAFE_NO_PAD.encode(&hash[..16])
}

/// Where a login or a consent goes on to. A further login or consent has a proof where the application itself began the
/// one before it: `Sec-Fetch-Site` says `cross-site` since the provider.
pub(crate) fn onwards(runtime: &Runtime, key: Option<&[u8]>, destination: &Destination) -> String {
    let address = destination.as_str();
    let asked = address.strip_prefix(&runtime.settings.path_to("")).unwrap_or_default();
    if !asked.starts_with("login?") && !asked.starts_with("connect?") {
        return address.to_owned();
    }
    let asked = address.rsplit_once(PROOF).map_or(address, |(asked, _)| asked);
    with_proof(runtime, key, asked.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_key_and_one_address() {
        let (key, asked) = (&[7; 16][..], "connect?connection=a&return_to=%2F");
        let given = proof(key, asked);
        let holds = |key: &[u8], endpoint: &str, query: &str| is_proven(key, endpoint, query);
        let query = format!("connection=a&return_to=%2F&proof={given}");
        assert!(holds(key, "connect", &query));
        assert!(!holds(&[8; 16], "connect", &query) && !holds(key, "login", &query));
        for other in [
            "connection=a&return_to=%2F".to_owned(),
            format!("connection=a&return_to=%2Fx&proof={given}"),
            format!("connection=a&scope=b&return_to=%2F&proof={given}"),
            format!("connection=a&return_to=%2F&proof={given}&once=1"),
            format!("connection=a&return_to=%2F&proof={}", &given[..21]),
            format!("proof={given}&connection=a&return_to=%2F"),
            "connection=a&return_to=%2F&proof=".to_owned(),
        ] {
            assert!(!holds(key, "connect", &other), "{other}");
        }
    }
}
