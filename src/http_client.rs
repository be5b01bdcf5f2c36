//! The default HTTP client: hyper over rustls with ring, HTTP/1.1, the Mozilla roots and the operator's own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::BoxError;

use crate::outbound::{BodyLimit, Outbound, PROVIDER_BODY};

/// Builds the client; a message for the operator when the certificates cannot be used.
pub(crate) fn default_client(ca_file: Option<&Path>) -> Result<Outbound, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let unusable = |reason: &dyn std::fmt::Display| {
            format!("the root certificates in {} cannot be used: {reason}", path.display())
        };
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(unusable(&"there is no certificate in it"));
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Which URLs may be plain http is decided where URLs are checked.
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    Ok(Outbound::new(tower::service_fn(move |request: Request<Bytes>| {
        let client = client.clone();
        async move {
            let limit = request.extensions().get::<BodyLimit>().map_or(PROVIDER_BODY, |limit| limit.0);
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, limit).collect().await?.to_bytes();
            Ok::<_, BoxError>(Response::from_parts(head, body))
        }
    })))
}
