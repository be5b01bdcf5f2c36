//! An OpenID Provider on the test's network that knows the truth about every token, and lies when it is told
//! to.
//!
//! Honest, it implements OpenID Connect Core and Discovery, PKCE (RFC 7636), PAR (RFC 9126), `iss` (RFC
//! 9207), refresh token rotation with reuse detection (RFC 9700 section 4.14), revocation (RFC 7009),
//! introspection (RFC 7662), resource indicators (RFC 8707) and logout. It shares no code with the crate
//! under test.
//!
//! Paths below the issuer: `/authorize`, `/par`, `/token`, `/userinfo`, `/jwks`, `/revoke`, `/introspect`,
//! `/end_session`, and `/signin?user=alice`, which signs a browser in as if it had been there before. They are below
//! `/auth`, too, with the keys at `/auth/keys`, as at Apple.

mod assertion;
mod authorize;
mod edits;
mod endpoints;
pub mod jwt;
pub mod keys;
pub mod lies;
mod naming;
mod observe;
mod state;
mod token;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use serde_json::Value;

pub use assertion::Assertion;
pub use edits::{AuthorizationResponse, Endpoint};
pub use naming::ApiNaming;
pub use observe::{AuthorizationRequest, Issued, Revocation, TokenRequest};
use state::State;
pub use state::{RevocationReach, Settings, User};

use super::clock::{Seconds, TestClock};
use super::net::{Net, answer, lock};
use super::params::Params;

/// The client that is registered from the start, with awkward bytes for HTTP Basic (RFC 6749 section 2.3.1).
pub const CLIENT_ID: &str = "app";
pub const CLIENT_SECRET: &str = "the app's secret: 100% + ü";

/// A provider. Clones are the same one.
#[derive(Clone)]
pub struct LyingProvider {
    issuer: Arc<str>,
    state: Arc<Mutex<State>>,
}

impl LyingProvider {
    /// Opens `issuer` (for instance `https://op.test` or `https://op.test/tenant`) on `net`.
    pub fn start(net: &Net, issuer: &str, clock: &TestClock) -> Self {
        Self::with_clock(net, issuer, clock.seconds_fn())
    }

    pub fn with_clock(net: &Net, issuer: &str, now: Seconds) -> Self {
        let state = Arc::new(Mutex::new(State::new(issuer, now)));
        let op = Self { issuer: issuer.into(), state };
        op.also_at(net, issuer);
        op
    }

    /// Is reached under this base URL, too, whose path is the issuer's.
    pub fn also_at(&self, net: &Net, base: &str) {
        let op = self.clone();
        net.serve(base, move |request| {
            let op = op.clone();
            async move { op.respond(request) }
        });
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Changes how it is set up: `op.set(|s| s.rotate_refresh_tokens = false)`.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.state).settings);
    }

    /// Registers another client; without a secret it is a public one.
    pub fn register(&self, client_id: &str, secret: Option<&str>) {
        lock(&self.state).clients.insert(client_id.to_owned(), secret.map(str::to_owned));
    }

    /// From now on this user approves every authorization request that names nobody by `login_hint`.
    pub fn sign_in_as(&self, user: &str) {
        lock(&self.state).signed_in = Some(user.to_owned());
    }

    /// This person signs in, and consents as if for the first time.
    pub fn new_person(&self, user: &str) {
        self.sign_in_as(user);
        lock(&self.state).consented.remove(user);
    }

    /// From now on the provider's own cookie says who it is, else a login form asks. So it is from the start.
    pub fn sign_in_nobody(&self) {
        lock(&self.state).signed_in = None;
    }

    /// Its own sessions are over, as after their idle time: whoever comes next gets another `sid`.
    pub fn end_sessions(&self) {
        lock(&self.state).sessions.clear();
    }

    /// Changes a user (alice, bob), or makes one up: `op.user("alice", |user| user.set("hd",
    /// "example.com"))`.
    pub fn user(&self, name: &str, change: impl FnOnce(&mut User)) {
        change(lock(&self.state).users.entry(name.to_owned()).or_insert_with(|| User::new(name)));
    }

    /// Signs with new keys from now on; the old ones are not published any more.
    pub fn rotate_keys(&self) {
        lock(&self.state).generation += 1;
    }

    /// An administrator takes back everything that this user has granted.
    pub fn revoke_grants_of(&self, user: &str) {
        lock(&self.state).kill_families(|family| family.user == user);
    }

    fn respond(&self, request: Request<Bytes>) -> Response<Bytes> {
        let mut state = lock(&self.state);
        let prefix = state.base_path().len();
        let path = request.uri().path()[prefix..].to_owned();
        let path = path.strip_prefix("/auth/").map(|rest| format!("/{rest}")).unwrap_or(path);
        let date = state.settings.date;
        let mut response = match (request.method(), path.as_str()) {
            (&Method::GET, "/.well-known/openid-configuration") => state.discovery(),
            (&Method::GET, "/jwks" | "/keys") => state.key_set(),
            (&Method::GET | &Method::POST, "/authorize") => state.authorize(&request),
            (&Method::POST, "/par") => state.pushed_authorization(&request),
            (&Method::POST, "/token") => state.token(&request),
            (&Method::GET | &Method::POST, "/userinfo") => state.userinfo(&request),
            (&Method::POST, "/revoke") => state.revoke(&request),
            (&Method::POST, "/introspect") => state.introspect(&request),
            (&Method::GET | &Method::POST, "/end_session") => state.end_session(&request),
            (&Method::GET, "/signin") => state.sign_in(&request),
            _ => answer(404, "no such page at the provider"),
        };
        if let Some(date) = date {
            response.headers_mut().insert(http::header::DATE, HeaderValue::from_static(date));
        }
        response
    }
}

/// The parameters of a request: the form of a POST, else the query.
fn params_of(request: &Request<Bytes>) -> Params {
    match *request.method() {
        Method::POST => Params::parse(request.body()),
        _ => Params::parse(request.uri().query().unwrap_or_default()),
    }
}

fn json_answer(status: u16, body: &Value) -> Response<Bytes> {
    typed_answer(status, "application/json", body.to_string())
}

fn oauth_error(status: u16, error: &str, description: &str) -> Response<Bytes> {
    json_answer(status, &serde_json::json!({ "error": error, "error_description": description }))
}

fn typed_answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = answer(status, body);
    let content_type = HeaderValue::from_str(content_type).expect("a content type");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn redirect(status: u16, to: &str) -> Response<Bytes> {
    let mut response = answer(status, "");
    response.headers_mut().insert(http::header::LOCATION, HeaderValue::from_str(to).expect("a URL"));
    response
}
