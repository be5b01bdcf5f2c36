//! The default HTTP client: hyper over rustls, HTTP/1.1, the Mozilla roots and the operator's own.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};
use url::Url;

use super::http_client::{Network, Outbound};
use crate::body::ApiBody;
use crate::crypto::roots::roots;
use crate::crypto::tls;
use crate::protocol::metadata::is_loopback;
use crate::secret::Secret;

/// Builds the client, and says which root certificates are skipped; a message for the operator when the certificates or the
/// proxy cannot be used.
pub(crate) fn default_client(ca_file: Option<&Path>, network: &Network) -> Result<(Outbound, Vec<String>), String> {
    let (roots, skipped) = roots(network.bundle.as_deref(), ca_file)?;
    let tls = ClientConfig::builder_with_provider(tls::crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Which URLs may be plain http is decided where URLs are checked.
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let proxies = proxies(network)?;
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    let connector = connector.wrap_connector(tower::service_fn(move |to: Uri| {
        let is_here = || Url::parse(&to.to_string()).is_ok_and(|url| is_loopback(&url));
        let (proxy, direct) = (proxies.intercept(&to).filter(|_| !is_here()), direct.clone());
        async move {
            let Some(proxy) = proxy else { return direct.oneshot(to).await.map_err(BoxError::from) };
            let tunnel = Tunnel::new(proxy.uri().clone(), direct);
            let tunnel = proxy.basic_auth().cloned().into_iter().fold(tunnel, Tunnel::with_auth);
            tunnel.oneshot(to).await.map_err(BoxError::from)
        }
    }));
    let client = Client::builder(TokioExecutor::new()).build::<_, ApiBody>(connector);
    let client = client.map_response(|response| response.map(ApiBody::stream)).map_err(BoxError::from);
    Ok((Outbound::new(BoxCloneSyncService::new(client)), skipped))
}

/// Which URLs are reached through the proxy, by CONNECT (RFC 9110 section 9.3.6). A proxy would read what is not encrypted:
/// plain http, to this machine or in its own network, never goes there.
fn proxies(network: &Network) -> Result<Arc<Matcher>, String> {
    let proxy = network.https_proxy.as_ref().map_or("", Secret::expose_secret);
    let matcher = |no: &str| Matcher::builder().https(proxy).no(no).build();
    let usable = |proxy: Intercept| proxy.uri().scheme_str() == Some("http");
    let any = Uri::from_static("https://op.example");
    if !proxy.is_empty() && !matcher("").intercept(&any).is_some_and(usable) {
        return Err("HTTPS_PROXY is of no use: set an http URL such as http://proxy.example:3128".to_owned());
    }
    Ok(Arc::new(matcher(&network.no_proxy)))
}
