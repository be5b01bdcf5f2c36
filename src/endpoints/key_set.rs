//! The public keys of this application (RFC 7517), with which providers verify its assertions. They are for everybody.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use super::context::{EndpointAnswer, EndpointContext};
use crate::html::response;
use crate::page;

/// The keys for all providers: one key may serve several of them.
pub(crate) async fn show(context: &EndpointContext) -> EndpointAnswer {
    let mut keys: Vec<Value> = Vec::new();
    for provider in context.runtime.providers.all() {
        for key in provider.client_keys().await {
            keys.extend((!keys.contains(&key.public)).then(|| key.public.clone()));
        }
    }
    if keys.is_empty() {
        return Err(page::plain(StatusCode::NOT_FOUND, "Not found."));
    }
    // RFC 7517 section 8.5.2. A provider that meets a new key finds it here at once, but for caches on the way.
    let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "public, max-age=60")];
    Ok(response(StatusCode::OK, json!({ "keys": keys }).to_string(), &headers))
}
