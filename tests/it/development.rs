//! The development provider is an explicit word, and for this machine alone: real connections, real and forged `Host`s.

use std::net::{SocketAddr, UdpSocket};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::map_request;
use http::{Extensions, StatusCode};
use serde_json::Map;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tower_oidc::dev_provider::DevProvider;
use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, EventCode, Mode, OidcLayer, PeerAddr, ProviderConfig, SharedAccount, testing};

use crate::support::app::{Events, routes};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// An application that listens on every address, as its author was sure that it does not.
struct App {
    port: u16,
    admin: String,
    events: Events,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let events = Events::default();
        let config = Config::development((LOOPBACK, port)).on_event(events.hook());
        let layer = OidcLayer::per_user(config, MemoryStore::new()).unwrap();
        let issuer = format!("http://localhost:{port}/auth/development");
        let claims = Map::from_iter([("roles".to_owned(), ["admin"][..].into())]);
        let admin = testing::start_session(&layer, &issuer, "ann", claims).await.unwrap();
        let app = routes().layer(layer).layer(map_request(peer));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port, admin, events }
    }

    async fn status(&self, ip: impl Into<std::net::IpAddr>, host: &str, path: &str) -> u16 {
        let mut stream = TcpStream::connect(SocketAddr::new(ip.into(), self.port)).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\ncookie: {}\r\nconnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}

/// The documented line.
async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

/// This machine's own address in a network. Nothing is sent: a connected UDP socket has one.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

const PATHS: [&str; 6] = ["/admin", "/who", "/private", "/auth/login", "/auth/development/authorize", "/auth/callback"];

#[tokio::test]
async fn a_client_at_another_address_does_not_get_in_with_a_forged_host() {
    let app = App::start().await;
    let local = format!("localhost:{}", app.port);
    assert_eq!(app.status(LOOPBACK, &local, "/admin").await, 200, "the control");
    assert!(!app.events.has(EventCode::NotLoopback));
    match own_address() {
        Some(ip) => {
            for path in PATHS {
                assert_eq!(app.status(ip, &local, path).await, 403, "{path}");
            }
        }
        // The same by hand, on a machine without a network.
        None => eprintln!("this machine has no address but loopback: the next test gives one by hand"),
    }
    for path in PATHS {
        assert_eq!(app.status(LOOPBACK, "evil.test", path).await, 421, "{path}");
    }
    assert!(app.events.has(EventCode::NotLoopback));
    assert_eq!(app.status(LOOPBACK, &local, "/admin").await, 200, "and goes on");
}

#[tokio::test]
async fn peer_and_authority_must_be_loopback_where_they_are_known() {
    let layer = OidcLayer::per_user(Config::development((LOOPBACK, 3000)), MemoryStore::new()).unwrap();
    let anywhere =
        OidcLayer::per_user(testing::development_config("http://localhost:3000"), MemoryStore::new()).unwrap();
    let ask = async |layer: &OidcLayer, uri: &str, hosts: &[&[u8]], peer: Option<&str>| {
        let mut request = http::Request::get(uri).body(axum::body::Body::empty()).unwrap();
        for host in hosts {
            request.headers_mut().append("host", http::HeaderValue::from_bytes(host).unwrap());
        }
        let mut extensions = Extensions::new();
        peer.map(|peer| extensions.insert(PeerAddr(peer.parse().unwrap())));
        request.extensions_mut().extend(extensions);
        layer.layer(routes()).oneshot(request).await.unwrap().status()
    };
    let in_here: [(&str, &[&[u8]], Option<&str>); 9] = [
        ("/who", &[], None),
        ("/who", &[b"localhost"], Some("127.0.0.1:9")),
        ("/who", &[b"LOCALHOST:3000"], Some("[::1]:9")),
        ("/who", &[b"app.localhost:80"], Some("127.9.9.9:9")),
        ("/who", &[b"127.0.0.1:3000"], Some("[::ffff:127.0.0.1]:9")),
        ("/who", &[b"[::1]:3000"], None),
        ("http://localhost:3000/who", &[], None),
        ("http://localhost:3000/who", &[b"127.0.0.1"], None),
        ("/auth/login", &[b"localhost:1"], None),
    ];
    for (uri, hosts, peer) in in_here {
        let status = ask(&layer, uri, hosts, peer).await;
        assert!(status == 200 || status == 303, "{uri} {hosts:?} {peer:?}: {status}");
    }
    let elsewhere: [(&str, &[&[u8]], Option<&str>, StatusCode); 13] = [
        ("/who", &[b"localhost"], Some("192.0.2.2:9"), StatusCode::FORBIDDEN),
        ("/who", &[], Some("[fd00::2]:9"), StatusCode::FORBIDDEN),
        ("/who", &[b"localhost"], Some("[::ffff:192.0.2.2]:9"), StatusCode::FORBIDDEN),
        ("/who", &[b"localhost"], Some("0.0.0.0:9"), StatusCode::FORBIDDEN),
        ("/who", &[b"192.0.2.2:3000"], None, StatusCode::MISDIRECTED_REQUEST),
        ("/who", &[b"localhost.evil.test"], None, StatusCode::MISDIRECTED_REQUEST),
        ("/who", &[b"localhost@evil.test"], None, StatusCode::MISDIRECTED_REQUEST),
        ("/who", &[b"localhost/evil.test"], None, StatusCode::MISDIRECTED_REQUEST),
        ("/who", &[b"localhost", b"evil.test"], None, StatusCode::MISDIRECTED_REQUEST),
        ("/who", &[b"localhost\xff"], None, StatusCode::MISDIRECTED_REQUEST),
        ("/who", &[b""], None, StatusCode::MISDIRECTED_REQUEST),
        ("http://evil.test/who", &[b"localhost"], None, StatusCode::MISDIRECTED_REQUEST),
        ("http://localhost/auth/login", &[b"0.0.0.0"], None, StatusCode::MISDIRECTED_REQUEST),
    ];
    for (uri, hosts, peer, refused) in elsewhere {
        assert_eq!(ask(&layer, uri, hosts, peer).await, refused, "{uri} {hosts:?} {peer:?}");
        assert_ne!(ask(&anywhere, uri, hosts, peer).await, refused, "the test kit's: {uri} {hosts:?} {peer:?}");
    }
    let endpoints = layer.endpoints();
    let forged = http::Request::get("/auth/login").header("host", "evil.test").body(axum::body::Body::empty());
    assert_eq!(endpoints.oneshot(forged.unwrap()).await.unwrap().status(), 421);
}

/// A real provider's application is reached under any name.
#[tokio::test]
async fn without_the_development_provider_no_host_is_looked_at() {
    let config =
        Config::new("https://app.test", ProviderConfig::new("https://op.test", "client").client_secret("secret"));
    let layer = OidcLayer::per_user(config, MemoryStore::new()).unwrap();
    let app: Router = routes().layer(layer);
    let mut request = http::Request::get("/who").header("host", "10.0.0.1:8080");
    let peer: SocketAddr = "192.0.2.2:9".parse().unwrap();
    request.extensions_mut().unwrap().insert(PeerAddr(peer));
    let answer = app.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Where the public URL is http on loopback, a name of another site that leads here is not answered, in any mode.
#[tokio::test]
async fn another_name_of_this_machine_is_misdirected() {
    let config = |public_url: &str| {
        Config::new(public_url, ProviderConfig::new("https://op.test", "client").client_secret("secret"))
            .admins(["root@example.test"])
            .development_hosts(["laptop.example", "Phone.example:8080"])
    };
    let account = || Mode::SingleUser(SharedAccount::connected_by_admin().allow_volatile_store());
    let development = Config::development((LOOPBACK, 3000)).development_hosts(["laptop.example", "phone.example"]);
    let layer = |config: Config| OidcLayer::from_config(config, MemoryStore::new()).unwrap();
    let local = "http://localhost:3000";
    let modes = [
        layer(config(local)),
        layer(config("http://127.0.0.1:3000").mode(Mode::Stateless)),
        layer(config(local).mode(account())),
        layer(development),
    ];
    let ask = async |layer: &OidcLayer, path: &str, host: Option<&str>| {
        let mut request = http::Request::get(path);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        layer.layer(routes()).oneshot(request).await.unwrap().status().as_u16()
    };
    for (mode, layer) in modes.iter().enumerate() {
        for path in ["/who", "/auth/logout", "/auth/granted"] {
            for host in ["evil.test", "evil.test:3000", "localhost.evil.test", "laptop.example.evil.test", ""] {
                assert_eq!(ask(layer, path, Some(host)).await, 421, "{mode} {path} {host}");
            }
            for host in ["localhost", "localhost:1", "127.0.0.1:3000", "[::1]", "laptop.example:3000", "PHONE.example"]
            {
                assert_ne!(ask(layer, path, Some(host)).await, 421, "{mode} {path} {host}");
            }
            assert_ne!(ask(layer, path, None).await, 421, "{mode} {path} in process");
        }
    }
    let page = "/auth/development/.well-known/openid-configuration";
    assert_eq!(ask(&modes[3], page, Some("laptop.example:3000")).await, 200, "the development provider, too");
    let public = layer(config("https://app.test"));
    assert_eq!(ask(&public, "/who", Some("evil.test")).await, 200, "with https the browser checks the name");
    let variables = |name: &str| match name {
        "OIDC_ISSUER" => Some("https://op.test".to_owned()),
        "OIDC_CLIENT_ID" => Some("client".to_owned()),
        "DEVELOPMENT_HOSTS" => Some("laptop.example, phone.example".to_owned()),
        _ => None,
    };
    let config = Config::from_env_with(variables).unwrap();
    assert_eq!(config.development_hosts, ["laptop.example", "phone.example"]);
}

#[test]
fn construction_fails_unless_the_bound_address_is_loopback() {
    let make = |config| OidcLayer::per_user(config, MemoryStore::new()).map(drop);
    for addr in ["0.0.0.0:3000", "192.0.2.2:3000", "[::]:3000", "[fd00::2]:3000", "[::ffff:10.0.0.1]:3000"] {
        let addr: SocketAddr = addr.parse().unwrap();
        let refused = make(Config::development(addr)).unwrap_err().to_string();
        assert!(refused.contains(&addr.to_string()) && refused.contains("OIDC_ISSUER"), "{refused}");
        let config = Config::development((LOOPBACK, 3000)).bind(addr);
        assert!(make(config).is_err(), "the last word counts");
        assert!(make(Config::development(addr).dangerously_allow_any_address()).is_ok(), "{addr}");
    }
    for addr in ["127.0.0.1:3000", "127.1.2.3:3000", "[::1]:3000"] {
        let addr: SocketAddr = addr.parse().unwrap();
        make(Config::development(addr)).unwrap_or_else(|refused| panic!("{addr}: {refused}"));
    }
    let unknown = Config::from_env_with(|name| (name == "OIDC_ISSUER").then(|| "development".to_owned()));
    let refused = make(unknown.unwrap()).unwrap_err().to_string();
    assert!(refused.contains("BIND"), "{refused}");
}

/// The provider that is served on a port of its own keeps to the same rule.
#[test]
fn the_provider_alone_answers_this_machine_only() {
    let provider = DevProvider::new("http://localhost:4000/op").unwrap();
    let anywhere = DevProvider::dangerously_allow_any_host("http://localhost:4000/op").unwrap();
    let ask = |provider: &DevProvider, host: &str, peer: &str| {
        let request = http::Request::get("/op/jwks").header("host", host);
        let request = request.extension(PeerAddr(peer.parse().unwrap())).body(bytes::Bytes::new());
        provider.handle(request.unwrap()).status().as_u16()
    };
    assert_eq!(ask(&provider, "localhost:4000", "127.0.0.1:9"), 200);
    for (host, peer, refused) in [("evil.test", "127.0.0.1:9", 421), ("localhost:4000", "192.0.2.2:9", 403)] {
        assert_eq!(ask(&provider, host, peer), refused);
        assert_eq!(ask(&anywhere, host, peer), 200);
    }
}
