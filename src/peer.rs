//! Whether a request comes from this machine, and is for it.

use std::net::SocketAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode};
use url::Url;

use crate::protocol::metadata::is_loopback;

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

/// What an application answers whose public URL names this machine: a page of another site, whose own name leads here
/// (DNS rebinding), would otherwise be taken for the application's.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalOnly {
    /// With the development provider: requests of other machines are refused, too.
    pub(crate) peers: bool,
    /// Names that are answered besides those of this machine.
    pub(crate) hosts: Vec<String>,
}

impl LocalOnly {
    /// Whether an authority names this machine, or is one of the names besides. Ports are not compared.
    fn answers(&self, authority: &[u8]) -> bool {
        let Ok(authority) = Authority::try_from(authority) else { return false };
        let host = authority.host();
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
            || Url::parse(&format!("http://{authority}")).is_ok_and(|url| is_loopback(&url))
    }
}

/// Why a request is not for this machine, or not from it, if that is so.
pub(crate) fn refusal<B>(request: &Request<B>, local: &LocalOnly) -> Option<(StatusCode, String)> {
    if let Some(PeerAddr(peer)) = request.extensions().get()
        && local.peers
        && !is_local(*peer)
    {
        return Some((StatusCode::FORBIDDEN, format!("it comes from {peer}, expected this machine")));
    }
    let uri = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let hosts = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    let elsewhere = uri.into_iter().chain(hosts).find(|authority| !local.answers(authority))?;
    let shown = String::from_utf8_lossy(&elsewhere[..elsewhere.len().min(200)]);
    let why = format!("it is for {shown:?}, expected a loopback name or one of development_hosts (PUBLIC_URL)");
    Some((StatusCode::MISDIRECTED_REQUEST, why))
}

/// The URL of a request's host, where that is another host than the public URL's: browsers send the cookies of one to the
/// other never (RFC 6265 section 5.1.3).
pub(crate) fn other_host(public_url: &Url, head: &Parts) -> Option<Url> {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = head.uri.authority().map(Authority::as_str).or(host)?;
    let url = Url::parse(&format!("http://{}", host.get(..200).unwrap_or(host))).ok()?;
    (url.host() != public_url.host()).then_some(url)
}

pub(crate) fn is_local(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}
