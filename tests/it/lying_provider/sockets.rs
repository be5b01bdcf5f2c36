//! The default HTTP client over loopback sockets: bounded bodies, truncated ones, certificates.
//! The browser and the application meet on the tests' network; only the provider is behind a socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tower_oidc::{Config, OidcLayer, ProviderConfig};

use crate::support::app::{APP, routes};
use crate::support::browser::{Browser, Page};
use crate::support::clock::TestClock;
use crate::support::net::{Caller, Net};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::test_store::TestStore;

/// What the socket does to answers of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trick {
    None,
    /// A JSON object that never ends, without a length.
    Endless,
    /// As long as announced and more than 1 MiB.
    Long,
    /// Less than announced.
    Truncated,
}

type Body = BoxBody<Bytes, std::io::Error>;

/// A provider behind a socket.
struct Site {
    net: Net,
    clock: TestClock,
    op: LyingProvider,
    issuer: String,
    /// How much of a trick's body was taken from here.
    sent: Arc<AtomicU64>,
}

impl Site {
    async fn open(scheme: &str, host: &str, tls: Option<ServerConfig>, trick: Trick) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("{scheme}://{host}:{}", listener.local_addr().unwrap().port());
        let (net, clock) = (Net::new(), TestClock::new());
        let op = LyingProvider::start(&net, &issuer, &clock);
        op.sign_in_as("alice");
        let sent = Arc::new(AtomicU64::new(0));
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let (at, through, counter) = (issuer.clone(), net.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (at, net, sent) = (at.clone(), through.clone(), Arc::clone(&counter));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => speak(socket, at, net, trick, sent).await,
                        Some(acceptor) => {
                            if let Ok(socket) = acceptor.accept(socket).await {
                                speak(socket, at, net, trick, sent).await;
                            }
                        }
                    }
                });
            }
        });
        Self { net, clock, op, issuer, sent }
    }

    /// Alice signs in at an application that has the default client and these root certificates.
    async fn login(&self, ca_file: Option<PathBuf>) -> Page {
        let mut config =
            Config::new(APP, ProviderConfig::new(&*self.issuer, CLIENT_ID).client_secret(CLIENT_SECRET))
                .clock(self.clock.readings());
        config.ca_file = ca_file;
        config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
        let layer = OidcLayer::per_user(config, TestStore::new()).unwrap();
        self.net.serve_service(APP, layer.layer(routes()));
        let browser = Browser::new(&self.net, &self.clock).strict_for(APP);
        browser.visit(&format!("{APP}/auth/login?return_to=/who")).await
    }
}

async fn speak(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    at: String,
    net: Net,
    trick: Trick,
    sent: Arc<AtomicU64>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (at, net, sent) = (at.clone(), net.clone(), Arc::clone(&sent));
        async move {
            let (mut parts, body) = request.into_parts();
            let path = parts.uri.path_and_query().unwrap().as_str().to_owned();
            parts.uri = format!("{at}{path}").parse().unwrap();
            let body = body.collect().await.unwrap().to_bytes();
            let answer = net.call(Caller::Application, Request::from_parts(parts, body)).await.unwrap();
            Ok::<_, Infallible>(if path == "/token" {
                tricky(answer, trick, sent)
            } else {
                answer.map(whole)
            })
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}

fn tricky(answer: Response<Bytes>, trick: Trick, sent: Arc<AtomicU64>) -> Response<Body> {
    let length = match trick {
        Trick::None => return answer.map(whole),
        Trick::Endless => None,
        Trick::Long => Some(1024 * 1024 + 1),
        Trick::Truncated => Some(answer.body().len() + 1),
    };
    let (mut parts, body) = answer.into_parts();
    if let Some(length) = length {
        parts.headers.insert("content-length", http::HeaderValue::from(length));
    }
    let first = stream::iter([Ok(Frame::data(body))]);
    let body = match trick {
        Trick::Truncated => {
            let gone = stream::iter([Err(std::io::Error::other("the connection is gone"))]);
            BodyExt::boxed(StreamBody::new(first.chain(gone)))
        }
        _ => {
            // Blanks after the object: whoever reads it all finds nothing wrong.
            let blanks = stream::repeat_with(move || {
                sent.fetch_add(16 * 1024, Ordering::SeqCst);
                Ok(Frame::data(Bytes::from_static(&[b' '; 16 * 1024])))
            });
            BodyExt::boxed(StreamBody::new(first.chain(blanks)))
        }
    };
    Response::from_parts(parts, body)
}

#[tokio::test]
async fn the_default_client_bounds_what_it_reads() {
    for trick in [Trick::None, Trick::Endless, Trick::Long, Trick::Truncated] {
        let site = Site::open("http", "127.0.0.1", None, trick).await;
        let page = tokio::time::timeout(Duration::from_secs(9), site.login(None)).await.unwrap();
        let expected = if trick == Trick::None { 200 } else { 503 };
        assert_eq!(page.status.as_u16(), expected, "{trick:?}: {}", page.text());
        // The limit, and what lies in the buffers of two sockets.
        assert!(site.sent.load(Ordering::SeqCst) < 16 * 1024 * 1024, "{trick:?}");
        assert_eq!(site.op.code_exchanges().len(), 1);
    }
}

/// The real client follows no redirect either.
#[tokio::test]
async fn the_default_client_follows_no_redirect() {
    let site = Site::open("http", "127.0.0.1", None, Trick::None).await;
    let elsewhere = Site::open("http", "127.0.0.1", None, Trick::None).await;
    let mut redirect = crate::support::net::answer(307, "");
    let to = format!("{}/token", elsewhere.issuer).parse().unwrap();
    redirect.headers_mut().insert("location", to);
    site.op.answer_with(crate::support::provider::Endpoint::Token, redirect);
    assert_eq!(site.login(None).await.status, 502);
    assert!(elsewhere.net.exchanges().is_empty());
    site.op.honest();
    assert_eq!(site.login(None).await.status, 200);
}

/// A certificate that signs itself, the server that shows it, and the file where it lies.
fn certificate(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> (ServerConfig, PathBuf) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    edit(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", std::process::id()));
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    (server.unwrap(), file)
}

#[tokio::test]
async fn certificates_are_verified() {
    let (server, ca_file) = certificate("good", |_| ());
    let (_, other_ca_file) = certificate("other", |_| ());
    let site = Site::open("https", "localhost", Some(server.clone()), Trick::None).await;
    assert_eq!(site.login(None).await.status, 503, "signed by itself");
    assert_eq!(site.login(Some(other_ca_file)).await.status, 503, "signed by somebody else");
    assert!(site.net.requests(&site.issuer).is_empty(), "nothing was said to it");
    assert_eq!(site.login(Some(ca_file.clone())).await.status, 200, "signed by whom the operator names");

    let elsewhere = Site::open("https", "127.0.0.1", Some(server), Trick::None).await;
    assert_eq!(elsewhere.login(Some(ca_file)).await.status, 503, "another host's");
    let (expired, ca_file) = certificate("expired", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let site = Site::open("https", "localhost", Some(expired), Trick::None).await;
    assert_eq!(site.login(Some(ca_file)).await.status, 503, "expired");
}
