//! The public keys of this application (RFC 7517), with which providers verify its assertions. They are for everybody.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::context::{EndpointAnswer, EndpointContext};
use crate::events::EventCode;
use crate::html::response;
use crate::page;

/// The keys for all providers: one key may serve several of them.
pub(crate) async fn show(context: &EndpointContext) -> EndpointAnswer {
    let mut keys: Vec<Value> = Vec::new();
    for provider in context.runtime.providers.all() {
        let read = provider.client_keys().await;
        let read = read.map_err(|error| {
            context.runtime.events().emit(EventCode::ProviderFailed, None, error);
            page::plain(StatusCode::SERVICE_UNAVAILABLE, "The keys cannot be read.")
        })?;
        for key in read {
            if keys.iter().all(|other| *other != key.public) {
                keys.push(key.public.clone());
            }
        }
    }
    if keys.is_empty() { Err(page::plain(StatusCode::NOT_FOUND, "Not found.")) } else { Ok(key_set(&keys)) }
}

/// RFC 7517 section 8.5.2. A provider that meets a new key finds it here at once: caches on the way keep the old ones for a
/// minute.
fn key_set(keys: &[Value]) -> Response<Bytes> {
    let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "public, max-age=60")];
    response(StatusCode::OK, json!({ "keys": keys }).to_string(), &headers)
}
