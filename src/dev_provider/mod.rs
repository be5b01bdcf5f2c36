//! The development provider: an OpenID Provider inside the process, at which anyone signs in under any name.
//!
//! With it, development and tests use the same protocol as production: discovery, authorization code with
//! PKCE, a signed ID token, refresh, revocation, UserInfo and logout, against an issuer that needs no
//! account, no network and no set-up. Its promises:
//!
//! 1. It follows OpenID Connect Core 1.0, Discovery 1.0 and RP-Initiated Logout
//!    1.0, RFC 6749, 6750, 7009, 7636 (S256 only), 8707, 9207 and 9700.
//! 2. Refresh tokens rotate. A second use of one revokes its whole family, and so does a replayed code.
//! 3. The issuer's host is loopback, and so are the `Host` of each request and, if it is known
//!    ([`PeerAddr`](crate::PeerAddr)), its peer, except with [`DevProvider::dangerously_allow_any_host`].
//! 4. A subject is derived from the lower-cased e-mail address alone: it is the same after a restart.
//! 5. All of its state is bounded and expires.
//!
//! It asks for no password, keeps nothing across a restart (its signing key included), and must not be
//! trusted in production. The claim `admin` is a checkbox on its sign-in page, and the claim `roles` a field;
//! an administrator has the role `admin`, too.
//!
//! It is a tower service: serve it on a port of its own. (The layer's own development provider is below the layer's
//! path.) It expects whole paths: if the issuer is `http://localhost:4000/op`, requests must have the path `/op/authorize`,
//! with the prefix.
//!
//! ```
//! use tower_oidc::dev_provider::{ScriptedLogin, DevProvider};
//!
//! let provider = DevProvider::new("http://localhost:4000/op")?.client(
//!     "app",
//!     Some("secret"),
//!     &["http://localhost:3000/auth/callback"],
//!     &["http://localhost:3000/"],
//! );
//! // A test signs in without the page.
//! provider.script(Some(ScriptedLogin::SignIn { email: "test@example.com".into(), admin: true }));
//! # Ok::<(), tower_oidc::dev_provider::DevProviderError>(())
//! ```

mod authorization_request;
mod authorize;
mod page;

mod end_session;
mod token;
mod user_info;

mod issuer;
use issuer::Issuer;
mod keys;
use keys::{Keys, PUBLISHED};
mod state;
use state::{GRANT_LIFETIME, Person, State};
mod bounded_map;

mod request;
mod response;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use parking_lot::Mutex;
use tower::{BoxError, Service};

use self::response::{Answer, Refusal};
use crate::clock::{Clock, Random, Timestamp};
use crate::peer::{self, LocalOnly};
use crate::protocol::metadata::is_loopback;
use crate::secret::opaque;
use crate::store::BoxFuture;

/// What a request may bring along, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// An OpenID Provider in this process, for development and tests; see the [module](self).
///
/// Clones are cheap and are the same provider. Call the methods that take `self` before the first clone: an earlier
/// clone keeps its settings.
#[derive(Clone)]
pub struct DevProvider {
    settings: Arc<DevSettings>,
    state: Arc<Mutex<State>>,
}

impl DevProvider {
    /// Creates a provider whose `iss` is exactly `issuer`, with a new signing key and without clients.
    ///
    /// # Errors
    ///
    /// If `issuer` is no http or https URL as in OpenID Connect Discovery 1.0 section 3, or if its host is not
    /// loopback: `localhost`, a name below it, 127.0.0.0/8 or `::1`.
    pub fn new(issuer: &str) -> Result<Self, DevProviderError> {
        let issuer = Issuer::parse(issuer)?;
        if !is_loopback(&issuer.url) {
            let host = issuer.url.host_str().unwrap_or_default().to_owned();
            return Err(DevProviderError::NotLoopback { host });
        }
        Ok(Self::with_issuer(issuer, true))
    }

    /// Like [`new`](Self::new), but accepts an issuer that is not loopback. Anyone who can reach it can sign in as
    /// anyone, including administrators, in every application that trusts it.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), except for the host.
    pub fn dangerously_allow_any_host(issuer: &str) -> Result<Self, DevProviderError> {
        Issuer::parse(issuer).map(|issuer| Self::with_issuer(issuer, false))
    }

    fn with_issuer(issuer: Issuer, local_only: bool) -> Self {
        tracing::warn!(
            issuer = issuer.given,
            "the development provider is on: anyone who reaches it signs in as anybody"
        );
        let settings = DevSettings {
            issuer,
            local_only,
            clients: Vec::new(),
            clock: Clock::system(),
            random: Random::system(),
            access_token_lifetime: Duration::from_secs(5 * 60),
        };
        Self { settings: Arc::new(settings), state: Arc::default() }
    }

    /// Registers a client, and replaces an earlier one with that id. Without a secret it is a public client (RFC 6749
    /// section 2.1). URIs are compared byte for byte (RFC 9700 section 2.1).
    #[must_use]
    pub fn client(
        mut self, client_id: &str, client_secret: Option<&str>, redirect_uris: &[&str],
        post_logout_redirect_uris: &[&str],
    ) -> Self {
        let owned = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect();
        let client = Client {
            id: client_id.to_owned(),
            secret: client_secret.map(str::to_owned),
            redirect_uris: owned(redirect_uris),
            post_logout_redirect_uris: owned(post_logout_redirect_uris),
        };
        let clients = &mut Arc::make_mut(&mut self.settings).clients;
        clients.retain(|other| other.id != client.id);
        clients.push(client);
        self
    }

    /// Sets the clock of the provider.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        Arc::make_mut(&mut self.settings).clock = clock;
        self
    }

    /// Sets the source of every code, token and key. The provider starts again with a new key.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.state = Arc::new(Mutex::new(State { keys: Keys::generate(&random), ..State::default() }));
        Arc::make_mut(&mut self.settings).random = random;
        self
    }

    /// Sets the lifetime of access tokens: 5 minutes by default.
    #[must_use]
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        Arc::make_mut(&mut self.settings).access_token_lifetime = lifetime;
        self
    }

    /// Answers every following authorization request in place of the user; `None` shows the page again.
    ///
    /// An invalid request is refused nevertheless, and `prompt=none` is answered from the session alone.
    pub fn script(&self, answer: Option<ScriptedLogin>) {
        self.state.lock().script = answer;
    }

    /// Gives the user of this e-mail address these roles, in the claim `roles` of each token and UserInfo response from now on.
    /// A sign-in with the page gives them what its field says.
    ///
    /// ```
    /// # use tower_oidc::dev_provider::DevProvider;
    /// # fn a_test(provider: &DevProvider) {
    /// provider.roles("ann@example.com", ["editor", "reader"]);
    /// # }
    /// ```
    pub fn roles(&self, email: &str, roles: impl IntoIterator<Item = impl Into<String>>) {
        let subject = Person { email: email.to_owned(), admin: false }.subject();
        let until = self.settings.clock.now().saturating_add(GRANT_LIFETIME);
        self.state.lock().roles.insert(subject, roles.into_iter().map(Into::into).collect(), until);
    }

    /// Signs with a new key from now on. The key set also keeps the previous key.
    pub fn rotate_key(&self) {
        self.state.lock().keys.rotate(&self.settings.random);
    }

    /// The details of a valid access token, as an API would get them by introspection (RFC 7662); `None` if it has
    /// expired or was revoked.
    pub fn inspect(&self, access_token: &str) -> Option<AccessTokenDetails> {
        let state = self.state.lock();
        let (token, grant) = state.live(access_token, self.settings.clock.now())?;
        let client_id = grant.client_id.clone();
        Some(AccessTokenDetails {
            subject: grant.session.as_ref().map_or(client_id.clone(), |session| session.person.subject()),
            client_id,
            scopes: token.scopes.clone(),
            resources: token.resources.clone(),
        })
    }

    /// The `iss` value, as it was given.
    pub fn issuer(&self) -> &str {
        &self.settings.issuer.given
    }

    /// Answers one request, without waiting. A request for a path that is not below the issuer's gets 404.
    pub fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let local = LocalOnly { peers: true, hosts: Vec::new() };
        if let Some((status, why)) = peer::refusal(&request, &local).filter(|_| self.settings.local_only) {
            tracing::warn!(why, "the development provider refused a request from elsewhere");
            return response::empty(status);
        }
        let now = self.settings.clock.now();
        let incoming = IncomingRequest { settings: &self.settings, state: &mut self.state.lock(), now };
        incoming.answer(&request).unwrap_or_else(Refusal::into_response)
    }
}

impl<B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static> Service<Request<B>> for DevProvider {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let provider = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let response = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => provider.handle(Request::from_parts(parts, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => response::empty(StatusCode::PAYLOAD_TOO_LARGE),
                Err(_) => response::empty(StatusCode::BAD_REQUEST),
            };
            Ok(response.map(Full::new))
        })
    }
}

opaque!(DevProvider, |provider| issuer = provider.issuer());

/// The answer of a script in place of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptedLogin {
    /// Sign in, and grant the requested scopes.
    SignIn {
        /// The e-mail address that the user would enter.
        email: String,
        /// Whether the user would tick "Sign in as Administrator".
        admin: bool,
    },
    /// Deny the request: `access_denied` (RFC 6749 section 4.1.2.1).
    Deny,
}

/// The details of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessTokenDetails {
    /// The client to which it was issued.
    pub client_id: String,
    /// The `sub` of the user who granted it; for client credentials the client id.
    pub subject: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// The resources for which it was requested (RFC 8707); empty if none were named.
    pub resources: Vec<String>,
}

/// The reason why a development provider could not be created: a mistake in the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevProviderError {
    /// The issuer is no URL.
    #[error("the development provider's issuer is not a URL")]
    NotAUrl(#[from] url::ParseError),
    /// The issuer is a URL, but not one an issuer may have: http or https, with no user, query or fragment
    /// (OpenID Connect Discovery 1.0 section 3).
    #[error("the development provider's issuer must be an http or https URL without user, query and fragment")]
    NotAnIssuer,
    /// The issuer's host is not loopback.
    #[error(
        "the development provider lets anyone sign in as anybody and is for loopback only, not for \
         {host:?}; DevProvider::dangerously_allow_any_host overrides this"
    )]
    NotLoopback {
        /// The host of the issuer.
        host: String,
    },
}

#[derive(Clone)]
struct DevSettings {
    issuer: Issuer,
    /// Other machines are refused.
    local_only: bool,
    clients: Vec<Client>,
    clock: Clock,
    random: Random,
    access_token_lifetime: Duration,
}

/// An application that is registered here.
#[derive(Clone)]
struct Client {
    id: String,
    secret: Option<String>,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
}

/// One request being answered, under the lock and at one moment.
struct IncomingRequest<'a> {
    settings: &'a DevSettings,
    state: &'a mut State,
    now: Timestamp,
}

impl IncomingRequest<'_> {
    fn answer(mut self, request: &Request<Bytes>) -> Answer {
        if request.body().len() > MAX_BODY {
            return Ok(response::empty(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let method = request.method();
        let (get, post) = (method == Method::GET, method == Method::POST);
        let read = get || method == Method::HEAD;
        match self.settings.issuer.endpoint(request.uri().path()) {
            Some("/.well-known/openid-configuration") if read => Ok(response::json(&self.settings.issuer.metadata())),
            Some("/jwks") if read => Ok(response::json(&self.state.keys.newest(PUBLISHED))),
            Some("/.well-known/openid-configuration" | "/jwks") => Ok(response::not_allowed("GET, HEAD")),
            Some("/authorize") if get => self.authorize(request),
            Some("/end_session") if get => self.end_session(request),
            Some(endpoint @ ("/authorize" | "/end_session")) if post => self.again_as_get(endpoint, request),
            Some("/userinfo") if get || post => Ok(self.user_info(request)),
            Some("/authorize" | "/end_session" | "/userinfo") => Ok(response::not_allowed("GET, POST")),
            Some("/sign-in") if post => self.sign_in(request),
            Some("/sign-out") if post => self.sign_out(request),
            Some("/token") if post => self.token(request),
            Some("/revoke") if post => self.revoke(request),
            Some("/sign-in" | "/sign-out" | "/token" | "/revoke") => Ok(response::not_allowed("POST")),
            _ => {
                let why = "The development provider has no such page.";
                Err(Refusal::Page(StatusCode::NOT_FOUND, "Not found", why))
            }
        }
    }

    /// When something ends that begins now.
    fn until(&self, lifetime: Duration) -> Timestamp {
        self.now.saturating_add(lifetime)
    }
}

/// The provider that a layer brings along.
impl DevProvider {
    pub(crate) fn embedded(
        (issuer, any_host): (&str, bool), (client_id, client_secret): (&str, Option<&str>), redirect_uri: &str,
        post_logout_redirect_uri: &str, clock: Clock, random: Random,
    ) -> Result<Self, String> {
        let new = if any_host { Self::dangerously_allow_any_host } else { Self::new };
        let mut provider = new(issuer).map_err(|error| error.to_string())?;
        // The layer has looked at the request.
        Arc::make_mut(&mut provider.settings).local_only = false;
        let provider = provider.clock(clock).random(random);
        Ok(provider.client(client_id, client_secret, &[redirect_uri], &[post_logout_redirect_uri]))
    }

    /// Whether a URL is one of this provider's.
    pub(crate) fn covers(&self, uri: &http::Uri) -> bool {
        uri.to_string().strip_prefix(self.issuer()).is_some_and(|rest| rest.starts_with(['/', '?']))
    }
}
