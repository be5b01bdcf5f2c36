//! Whether a request comes from this machine.

use std::net::SocketAddr;

use http::header::HOST;
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

pub(crate) fn is_local(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

fn names_this_machine(authority: &[u8]) -> bool {
    let authority = Authority::try_from(authority).ok();
    let url = authority.and_then(|authority| Url::parse(&format!("http://{authority}")).ok());
    url.is_some_and(|url| is_loopback(&url))
}
