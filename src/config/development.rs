//! The development provider is for this machine alone: a word turns it on, and no request from elsewhere is answered.

use std::net::SocketAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode};
use url::Url;

use super::Config;
use super::provider::ProviderConfig;
use super::settings::Settings;
use crate::clock::{Clock, Random};
use crate::dev_provider::DevProvider;
use crate::protocol::metadata::is_loopback;
use crate::secret::Secret;

/// The issuer that stands for the development provider.
const ISSUER: &str = "development";

/// The registration at the development provider.
const CLIENT: &str = "development";

/// The address of the machine at the other end of a request's connection, for the development provider: a request from
/// another machine is then refused, whatever its `Host` says.
///
/// The server knows the address, and one line gives it to the layer. With axum, in the last place, and with
/// `into_make_service_with_connect_info::<SocketAddr>()`:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use std::net::SocketAddr;
/// # use axum::{Router, extract::{ConnectInfo, Request}, middleware::map_request};
/// # use tower_oidc::PeerAddr;
/// async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
///     request.extensions_mut().insert(PeerAddr(peer));
///     request
/// }
/// # let app: Router = Router::new();
/// let app = app.layer(map_request(peer));
/// # let _ = app.into_make_service_with_connect_info::<SocketAddr>();
/// # }
/// ```
///
/// With hyper the line `request.extensions_mut().insert(PeerAddr(peer))` stands where the connection was accepted.
/// Behind a proxy the peer is the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl Config {
    /// The development provider, for an application that listens on this loopback address. Its public URL is
    /// `http://localhost:PORT` unless another one is set.
    ///
    /// Anybody signs in there as anybody, administrators included. The layer cannot be made where the address is not
    /// loopback, and answers no request whose `Host` is not loopback or which comes from another machine
    /// ([`PeerAddr`]).
    pub fn development(addr: impl Into<SocketAddr>) -> Self {
        Self { issuer: Some(ISSUER.to_owned()), ..Self::default() }.bind(addr)
    }

    /// The address that the application listens on, in place of `BIND`. The development provider alone needs it.
    #[must_use]
    pub fn bind(mut self, addr: impl Into<SocketAddr>) -> Self {
        let addr = Some(addr.into());
        if self.public_url == local_url(self.bind) {
            self.public_url = local_url(addr);
        }
        self.bind = addr;
        self
    }

    /// Lets the development provider sign in anybody as anybody from any machine, at any address and under any `Host`.
    #[must_use]
    pub fn dangerously_allow_any_address(mut self) -> Self {
        self.any_address = true;
        self
    }

    pub(crate) fn is_development(&self) -> bool {
        self.issuer.as_deref() == Some(ISSUER)
    }
}

/// Where an application that listens on this address is reached from this machine.
pub(crate) fn local_url(addr: Option<SocketAddr>) -> String {
    format!("http://localhost:{}", addr.map_or(3000, |addr| addr.port()))
}

/// Puts the development provider where its word stands, on this machine alone.
pub(crate) fn register(
    first: &mut ProviderConfig,
    config: &Config,
    public_url: &Url,
    problems: &mut Vec<String>,
) {
    if !config.client_id.is_empty() {
        problems.push("the development provider takes no client_id: remove it (OIDC_CLIENT_ID)".to_owned());
    }
    if !config.any_address && !is_loopback(public_url) {
        problems.push(format!("public_url is {public_url}: the development provider is for loopback only"));
    }
    if !config.any_address && !config.bind.is_some_and(is_local) {
        let addr = config.bind.map_or("an unknown address".to_owned(), |addr| addr.to_string());
        problems.push(format!(
            "the application listens on {addr}, and at the development provider anybody signs in as anybody: bind a \
             loopback address and say so (BIND=127.0.0.1:3000, Config::bind), or set the issuer (OIDC_ISSUER) of a \
             real provider"
        ));
    }
    let origin = public_url.origin().ascii_serialization();
    let mount = public_url.path().trim_end_matches('/');
    first.issuer = format!("{origin}{mount}{}/development", config.base_path);
    first.client_id = CLIENT.to_owned();
}

/// The development provider of these settings.
pub(crate) fn provider(settings: &Settings, clock: &Clock, random: &Random) -> Result<DevProvider, String> {
    let relying_party = &settings.relying_parties[0];
    DevProvider::embedded(
        (&relying_party.issuer, !settings.local_only),
        (CLIENT, relying_party.client_secret.as_ref().map(Secret::expose_secret)),
        &relying_party.redirect_uri,
        settings.post_logout_url.as_str(),
        clock.clone(),
        random.clone(),
    )
}

/// Why a request is not from this machine, if it is not.
pub(crate) fn refusal<B>(request: &Request<B>) -> Option<(StatusCode, String)> {
    if let Some(PeerAddr(peer)) = request.extensions().get()
        && !is_local(*peer)
    {
        return Some((StatusCode::FORBIDDEN, format!("it comes from {peer}")));
    }
    let uri = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let hosts = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    let elsewhere = uri.into_iter().chain(hosts).find(|authority| !names_this_machine(authority))?;
    let shown = String::from_utf8_lossy(&elsewhere[..elsewhere.len().min(200)]);
    Some((StatusCode::MISDIRECTED_REQUEST, format!("it is for {shown:?}")))
}

fn is_local(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

fn names_this_machine(authority: &[u8]) -> bool {
    let authority = Authority::try_from(authority).ok();
    let url = authority.and_then(|authority| Url::parse(&format!("http://{authority}")).ok());
    url.is_some_and(|url| is_loopback(&url))
}
