//! The default HTTP client: hyper over rustls with ring, HTTP/1.1, the Mozilla roots and the operator's own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tower::BoxError;

use super::http_client::{Outbound, PROVIDER_BODY, ResponseBodyLimit};
use crate::tls_roots::roots;

/// Builds the client; a message for the operator when the certificates cannot be used.
pub(crate) fn default_client(ca_file: Option<&Path>) -> Result<Outbound, String> {
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    // Which URLs may be plain http is decided where URLs are checked.
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    Ok(Outbound::new(tower::service_fn(move |request: Request<Bytes>| {
        let client = client.clone();
        async move {
            let limit =
                request.extensions().get::<ResponseBodyLimit>().map_or(PROVIDER_BODY, |limit| limit.bytes());
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, limit).collect().await?.to_bytes();
            Ok::<_, BoxError>(Response::from_parts(head, body))
        }
    })))
}
