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
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, EventCode, OidcLayer, ProviderConfig};

use crate::support::app::{APP, Events, routes};
use crate::support::browser::{Browser, Page};
use crate::support::clock::TestClock;
use crate::support::net::{Caller, Net};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::socket::ConnectProxy;
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
        let mut config = Config::new(APP, ProviderConfig::default());
        config.ca_file = ca_file;
        self.login_with(config).await
    }

    /// The same with this configuration.
    async fn login_with(&self, config: Config) -> Page {
        let provider = ProviderConfig::new(&*self.issuer, CLIENT_ID).client_secret(CLIENT_SECRET);
        let mut config = config.public_url(APP).provider(provider).clock(self.clock.readings());
        config.session_secrets = vec!["a sealing secret of the tests, 32 bytes+".into()];
        let layer = OidcLayer::per_user(config, TestStore::new()).unwrap();
        self.net.serve_service(APP, layer.layer(routes()));
        let browser = Browser::new(&self.net, &self.clock).strict_for(APP);
        browser.visit(&format!("{APP}/auth/login?return_to=/who")).await
    }
}

async fn speak(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, at: String, net: Net, trick: Trick,
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
            Ok::<_, Infallible>(if path == "/token" { tricky(answer, trick, sent) } else { answer.map(whole) })
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

/// A host that only a proxy finds.
const FAR: &str = "op.far.test";

/// A certificate that signs itself, the server that shows it, and the file where it lies.
fn certificate(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> (ServerConfig, PathBuf) {
    let mut params = CertificateParams::new(["localhost", FAR].map(str::to_owned)).unwrap();
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

/// A configuration from these variables alone.
fn from(variables: &[(&str, &str)]) -> Config {
    let issuer = [("OIDC_ISSUER", "https://op.test"), ("OIDC_CLIENT_ID", "app")];
    let all: Vec<_> = variables.iter().chain(&issuer).map(|(name, value)| (*name, (*value).to_owned())).collect();
    let variable = |name: &str| all.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
    Config::from_env_with(variable).unwrap()
}

/// A bundle in which one certificate is broken, and in another way a second.
fn damaged(ca_file: &Path, rest: &str) -> PathBuf {
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let file = ca_file.with_extension("bundle");
    std::fs::write(&file, format!("# roots\n{broken}{no_der}{rest}")).unwrap();
    file
}

#[tokio::test]
async fn a_broken_certificate_costs_only_itself() {
    let (server, ca_file) = certificate("bundled", |_| ());
    let site = Site::open("https", "localhost", Some(server), Trick::None).await;
    let bundle = damaged(&ca_file, &std::fs::read_to_string(&ca_file).unwrap());
    for variable in ["OIDC_CA_FILE", "SSL_CERT_FILE"] {
        let events = Events::default();
        let config = from(&[(variable, bundle.to_str().unwrap())]).on_event(events.hook());
        assert_eq!(site.login_with(config).await.status, 200, "{variable}");
        assert_eq!(events.count(EventCode::CertificateSkipped), 2, "{variable}");
        let told = &events.all()[0].detail;
        assert!(told.contains("bundle"), "{told}");
    }
    let whole = Events::default();
    let config = from(&[("OIDC_CA_FILE", ca_file.to_str().unwrap())]).on_event(whole.hook());
    assert_eq!(site.login_with(config).await.status, 200);
    assert!(!whole.has(EventCode::CertificateSkipped));

    let nothing = damaged(&ca_file, "");
    for variable in ["OIDC_CA_FILE", "SSL_CERT_FILE"] {
        let refused = OidcLayer::per_user(from(&[(variable, nothing.to_str().unwrap())]), MemoryStore::new());
        let refused = refused.expect_err(variable).to_string();
        assert!(refused.contains("no usable certificate") && refused.contains("bundle"), "{refused}");
    }
}

/// A corporate network: a proxy on the way, and its own root, at the same time.
#[tokio::test]
async fn https_goes_through_the_proxy_and_nothing_else_does() {
    let (server, ca_file) = certificate("far", |_| ());
    let proxy = ConnectProxy::start().await;
    let at = format!("http://ann:p%40ss@127.0.0.1:{}", proxy.port);
    let roots = ("SSL_CERT_FILE", ca_file.to_str().unwrap());
    let far = Site::open("https", FAR, Some(server.clone()), Trick::None).await;
    for name in ["HTTPS_PROXY", "https_proxy"] {
        assert_eq!(far.login_with(from(&[(name, &at), roots])).await.status, 200, "{name}");
    }
    let asked = proxy.asked();
    let authority = far.issuer.strip_prefix("https://").unwrap();
    assert!(asked[0].starts_with(&format!("CONNECT {authority} HTTP/1.1\r\n")), "{asked:?}");
    // RFC 7617: `ann:p@ss`.
    assert!(asked[0].to_lowercase().contains("proxy-authorization: basic yw5uonbac3m="), "{asked:?}");
    assert_eq!(far.login_with(from(&[roots]).proxy(Some(&at))).await.status, 200);

    // Nobody finds this host without it.
    let so_far = proxy.asked().len();
    for config in [
        from(&[roots]),
        from(&[("HTTPS_PROXY", &at), roots]).proxy(None),
        from(&[("HTTPS_PROXY", &at), ("NO_PROXY", "elsewhere.test, far.test"), roots]),
        from(&[("HTTP_PROXY", &at), ("http_proxy", &at), roots]),
    ] {
        assert_eq!(far.login_with(config).await.status, 503);
    }
    for (scheme, host, server) in [("https", "localhost", Some(server)), ("http", "127.0.0.1", None)] {
        let near = Site::open(scheme, host, server, Trick::None).await;
        let config = from(&[("HTTPS_PROXY", &at), ("HTTP_PROXY", &at), roots]);
        assert_eq!(near.login_with(config).await.status, 200, "{scheme}");
    }
    assert_eq!(proxy.asked().len(), so_far);
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused() {
    for wrong in ["socks5://127.0.0.1:1080", "https://proxy.test", "ftp://proxy.test", "http://a b"] {
        let refused = OidcLayer::per_user(from(&[("HTTPS_PROXY", wrong)]), MemoryStore::new());
        let refused = refused.expect_err(wrong).to_string();
        assert!(refused.contains("HTTPS_PROXY") && !refused.contains(wrong), "{refused}");
    }
    let usable = from(&[("HTTPS_PROXY", "proxy.test:3128"), ("NO_PROXY", "*")]);
    assert!(OidcLayer::per_user(usable.clone(), MemoryStore::new()).is_ok());
    let shown = format!("{:?}", usable.proxy(Some("http://ann:secret@proxy.test")));
    assert!(!shown.contains("ann:secret"), "{shown}");
}
