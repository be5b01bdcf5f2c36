//! Several providers to sign in at, and none chosen: the page where a person chooses.

use bytes::Bytes;
use http::Response;

use super::urls::{path, with_proof};
use crate::config::destination::Destination;
use crate::config::hooks::ProviderChoice;
use crate::events::guarded;
use crate::protocol::authorization::LoginOptions;
use crate::state::Runtime;

/// The application's page, or the layer's own.
pub(crate) fn page(runtime: &Runtime, destination: &Destination, options: &LoginOptions) -> Response<Bytes> {
    let choices = choices(runtime, None, destination, options);
    let choose = runtime.hooks.choose.as_ref();
    let page = choose.and_then(|hook| guarded("the hook for the provider selection page", || hook(&choices)));
    page.unwrap_or_else(|| ProviderChoice::page(&choices))
}

/// Every provider to sign in at, in the order of the configuration; each address asks for the same otherwise, with the
/// proof that this key makes.
pub(crate) fn choices(
    runtime: &Runtime,
    key: Option<&[u8]>,
    destination: &Destination,
    options: &LoginOptions,
) -> Vec<ProviderChoice> {
    let choice = |provider: &std::sync::Arc<crate::provider::Provider>| ProviderChoice {
        provider: provider.relying_party.name.clone(),
        display_name: provider.relying_party.display_name.clone(),
        login_url: with_proof(runtime, key, path(runtime, Some(provider), destination, options)),
    };
    runtime.providers.logins().map(choice).collect()
}
