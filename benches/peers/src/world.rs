//! A provider on a socket of this machine, and a browser that signs in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, COOKIE, HOST, LOCATION, SET_COOKIE};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tower_oidc::dev_provider::{DevProvider, ScriptedLogin};

use crate::apps::Peer;

/// What browsers call the application.
pub const APP: &str = "http://localhost:3000";
pub const CLIENT: &str = "app";
pub const SECRET: &str = "a secret of the client of these benchmarks";

/// The development provider. Every application asks it through a socket, as it would ask another.
#[derive(Clone)]
pub struct Provider {
    pub issuer: String,
    pub provider: DevProvider,
    refreshes: Arc<AtomicUsize>,
    /// Who signs in next is told to the provider just before.
    turn: Arc<Mutex<()>>,
}

impl Provider {
    pub async fn start(access_token_lifetime: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let callbacks = ["/auth/callback", "/callback", "/login"].map(|path| format!("{APP}{path}"));
        let callbacks: Vec<&str> = callbacks.iter().map(String::as_str).collect();
        let provider = DevProvider::new(&issuer).expect("a loopback issuer");
        let provider = provider.client(CLIENT, Some(SECRET), &callbacks, &[APP]);
        let provider = provider.access_token_lifetime(access_token_lifetime);
        let refreshes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refreshes);
        let count = from_fn(move |request: Request, next: Next| {
            let counted = Arc::clone(&counted);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                if memchr::memmem::find(&body, b"grant_type=refresh_token").is_some() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                next.run(Request::from_parts(parts, Body::from(body))).await
            }
        });
        let service = Router::new().fallback_service(provider.clone()).layer(count);
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { issuer, provider, refreshes, turn: Arc::default() }
    }

    pub fn refreshes(&self) -> usize {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// The person agrees at once; the way back to the application.
    fn sign_in(&self, url: &str, email: String) -> String {
        let _turn = self.turn.lock().unwrap();
        self.provider.script(Some(ScriptedLogin::SignIn { email, admin: false }));
        let host = self.issuer.trim_start_matches("http://");
        let request = Request::get(url).header(HOST, host).body(Bytes::new()).expect("a valid request");
        location(&self.provider.handle(request)).expect("a redirect")
    }
}

/// Signs a person in, the way a browser does; the value of a `Cookie` header.
pub async fn sign_in(peer: &Peer, provider: &Provider, number: usize) -> String {
    let mut cookies = BTreeMap::new();
    let mut path = peer.login.to_owned();
    loop {
        let response = peer.call(&path, &header(&cookies)).await;
        assert!(!response.status().is_client_error(), "{} at {path}: {response:?}", peer.name);
        assert!(!response.status().is_server_error(), "{} at {path}: {response:?}", peer.name);
        for set in response.headers().get_all(SET_COOKIE) {
            let pair = set.to_str().expect("text").split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("name and value");
            cookies.insert(name.trim().to_owned(), value.to_owned());
        }
        cookies.retain(|_, value| !value.is_empty());
        match location(&response) {
            Some(location) if location.starts_with(&provider.issuer) => {
                let back = provider.sign_in(&location, format!("person{number}@example.com"));
                path = back.strip_prefix(APP).expect("the way back to the application").to_owned();
            }
            // Signed in, and led to a page.
            _ => return header(&cookies),
        }
    }
}

fn header(cookies: &BTreeMap<String, String>) -> String {
    cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn location<B>(response: &Response<B>) -> Option<String> {
    response.headers().get(LOCATION).map(|location| location.to_str().expect("text").to_owned())
}

/// What every request has besides its cookie.
pub const HEADERS: &[(&str, &str)] = &[
    ("host", "localhost:3000"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("sec-fetch-mode", "navigate"),
];

pub fn request(path: &str, cookie: &str) -> Request {
    let mut request = Request::get(path).body(Body::empty()).expect("a valid path");
    for (name, value) in HEADERS {
        request.headers_mut().insert(*name, value.parse().expect("a valid header"));
    }
    debug_assert!(request.headers().contains_key(ACCEPT));
    if !cookie.is_empty() {
        request.headers_mut().insert(COOKIE, cookie.parse().expect("a valid header"));
    }
    request
}
