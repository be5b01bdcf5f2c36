//! The layer, with one constructor for each mode.

pub(crate) mod any_body;
mod bearer;
pub(crate) mod check;
pub(crate) mod future;
pub(crate) mod health;
pub(crate) mod require;
mod revalidation;
pub(crate) mod service;
mod session_endpoint;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service};

use self::any_body::AnyBodyLayer;
use self::check::{CheckReport, check};
use self::health::{Health, health};
use self::service::Oidc;
use crate::config::{Config, Mode, SharedAccount};
use crate::error::{ConfigError, Error};
use crate::extract::background_tokens::BackgroundTokens;
use crate::extract::session_admin::SessionAdmin;
use crate::page;
use crate::secret::opaque;
use crate::state::Runtime;
use crate::store::Store;
use crate::tokens::{AccountStatus, account_status};

/// The tower layer: it signs users in, answers the paths below `/auth`, and adds [`CurrentUser`](crate::CurrentUser)
/// and [`UserTokens`](crate::UserTokens) to requests. Clones are cheap and share everything.
#[derive(Clone)]
pub struct OidcLayer {
    pub(crate) runtime: Arc<Runtime>,
}

impl OidcLayer {
    /// Creates a layer in the mode of the configuration ([`Config::mode`](crate::Config::mode)).
    ///
    /// The provider may be unavailable: the application starts and serves requests, and users can sign in as soon as
    /// the provider answers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the configuration.
    pub fn from_config(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Ok(Self { runtime: Runtime::new(config, Arc::new(store))? })
    }

    /// Creates a layer in the mode [`Mode::PerUser`]: each user has their own tokens, kept in the store.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the configuration.
    pub fn per_user(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Self::from_config(config.mode(Mode::PerUser), store)
    }

    /// Creates a layer in the mode [`Mode::Stateless`]: each user has their own tokens, and sessions and grants are
    /// sealed into cookies.
    ///
    /// The store keeps a refreshed grant until the browser has received it, and a note on an ended session until its
    /// cookies expire. Processes that share the store act as one: parallel requests share one refresh, late requests
    /// with an older cookie get the same result, and a session or connection that ends at one process ends at the
    /// others within [`Config::max_staleness`](crate::Config::max_staleness), or at once if the store notifies.
    ///
    /// With [`MemoryStore`](crate::store::MemoryStore) this holds within one process and until it ends. Cookies
    /// outlive the process, so that the next process does not know
    ///
    /// - a logout, here or at the provider: cookies that were copied before it are valid until the session expires,
    /// - a disconnected connection, unless the provider has revoked its tokens,
    /// - a callback, which could be received twice (the provider accepts its code once),
    /// - the newest generation of a refresh token: it would spend an older one.
    ///
    /// Every grant ends with its session, so connections need
    /// [`GrantLifetime::Session`](crate::GrantLifetime::Session). Browsers and proxies limit the size of cookies: see
    /// [`Config::max_cookie_bytes`](crate::Config::max_cookie_bytes) and [`docs::stateless`](crate::docs::stateless).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the configuration.
    pub fn stateless(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Self::from_config(config.mode(Mode::Stateless), store)
    }

    /// Creates a layer in the mode [`Mode::SingleUser`]: the tokens of one account serve all requests, of signed-in
    /// users and of others.
    ///
    /// Handlers are the same as with [`OidcLayer::per_user`]. Users can sign in, to be identified and to be admins;
    /// the tokens of their logins are not kept.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the configuration.
    pub fn single_user(config: Config, account: SharedAccount, store: impl Store) -> Result<Self, ConfigError> {
        Self::from_config(config.mode(Mode::SingleUser(account)), store)
    }

    /// Returns the status of the shared account at each connection, for readiness routes and operators. Like a request
    /// it asks for a token, one for each resource indicator, for at most two seconds per connection.
    ///
    /// Connections without resources are left out, and so is the login, because no API is called with their tokens. If
    /// no connection has resources, the result is the login alone. In the other modes the result is empty.
    pub async fn account_status(&self) -> Vec<AccountStatus> {
        account_status::status(&self.runtime).await
    }

    /// Creates the capability to use users' grants in work that runs without a request. Call it in `main`, for the
    /// worker; handlers have no access to it.
    pub fn background_tokens(&self) -> BackgroundTokens {
        BackgroundTokens(Arc::clone(&self.runtime))
    }

    /// Creates the capability to list and end users' sessions. Call it in `main`; handlers have no access to it.
    pub fn session_admin(&self) -> SessionAdmin {
        SessionAdmin(Arc::clone(&self.runtime))
    }

    /// Wraps a service, such as a whole router. This is the outermost place, and the fastest. `axum::serve` takes no service as it
    /// is, but one that makes a service for each connection:
    ///
    /// ```no_run
    /// use axum::extract::Request;
    /// use axum::{Router, ServiceExt};
    /// # async fn f(auth: tower_oidc::OidcLayer, app: Router) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("localhost:3000").await?;
    /// axum::serve(listener, ServiceExt::<Request>::into_make_service(auth.layer(app))).await
    /// # }
    /// ```
    pub fn layer<S>(&self, inner: S) -> Oidc<S> {
        Oidc { inner, runtime: Arc::clone(&self.runtime) }
    }

    /// The layer for a service whose response body is not `From<Bytes>`: tonic, `http_body_util`'s boxed bodies, compression
    /// inside the layer. Its responses have a [`ResponseBody`](crate::ResponseBody), which is the inner service's body or
    /// the layer's own bytes. Bodies that are `From<Bytes>`, such as axum's, need it not.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Empty, combinators::BoxBody};
    /// # use tower_oidc::OidcLayer;
    /// # type Body = BoxBody<bytes::Bytes, Infallible>;
    /// async fn handle(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    ///     Ok(Response::new(Empty::new().boxed()))
    /// }
    /// # fn f(auth: OidcLayer) {
    /// let service = auth.any_body().layer(tower::service_fn(handle));
    /// # }
    /// ```
    pub fn any_body(&self) -> AnyBodyLayer {
        AnyBodyLayer(Arc::clone(&self.runtime))
    }

    /// The layer's endpoints alone, for an application in which the layer cannot be outermost: mount the service so
    /// that it receives the requests below `/auth/`, with their whole path.
    pub fn endpoints(&self) -> Oidc<NotFound> {
        self.layer(NotFound)
    }

    /// Waits until all records that must not be lost are written: of refreshes in progress, and of ending sessions.
    ///
    /// Call it after the server has stopped and before the process ends, with a time limit: it also waits for a store
    /// that is unavailable, and for a provider whose keys are needed to verify received tokens.
    pub async fn drain(&self) {
        let tasks = &self.runtime.tasks.tracker;
        tasks.close();
        tasks.wait().await;
        tasks.reopen();
    }

    /// Checks the store, the providers and their keys, for the application's own readiness route. It takes at most two
    /// seconds, and sends the provider no more requests than logins do.
    ///
    /// ```
    /// # use axum::{Json, extract::State, http::StatusCode};
    /// # use tower_oidc::{Health, OidcLayer};
    /// async fn ready(State(auth): State<OidcLayer>) -> (StatusCode, Json<Health>) {
    ///     let health = auth.health().await;
    ///     let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    ///     (status, Json(health))
    /// }
    /// # let _: axum::Router<OidcLayer> = axum::Router::new().route("/ready", axum::routing::get(ready));
    /// ```
    ///
    /// Mount the route outside the layer, or inside it if probes send no cookies: a request with a session cookie
    /// waits for the store before it reaches any handler.
    pub async fn health(&self) -> Health {
        health(&self.runtime).await
    }

    /// Checks before users come what would fail with them: each provider (metadata, keys, support of what is configured, client
    /// authentication, clock, redirect URI), the store, and the size of cookies.
    ///
    /// It sends each provider a token request with a made-up code and an authorization request of nobody, as a first login
    /// would, and writes one row, which it deletes. Call it in a deployment or a command of the application, not in a
    /// readiness route, which [`OidcLayer::health`] is for.
    ///
    /// ```
    /// # async fn f(auth: tower_oidc::OidcLayer) {
    /// let report = auth.check().await;
    /// print!("{report}");
    /// std::process::exit(if report.is_ok() { 0 } else { 1 });
    /// # }
    /// ```
    pub async fn check(&self) -> CheckReport {
        check(&self.runtime).await
    }

    /// Deletes expired records, and returns their number. Expired records have no effect; this frees space.
    ///
    /// The layer does so by itself, at most every ten minutes, when a user signs in, when a provider signs a user out,
    /// or (stateless mode) when a refresh or logout is noted. Several processes may do so at the same time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    pub async fn delete_expired(&self) -> Result<u64, Error> {
        Ok(self.runtime.records.delete_expired().await?)
    }

    /// Begins anew in a store whose records are sealed with a session secret that is lost: every login there ends with 503
    /// until that secret is configured again, or this is called. Returns false, and changes nothing, where the configured
    /// secrets open the store.
    ///
    /// **Every session and grant of this application in the store is lost**: users sign in again, and connect their accounts
    /// again. A process that has the old secret still answers 503 from then on. Therefore call it in a command that an operator
    /// gives on purpose, and that asks for the name of the store, never at start. Such a command is `reset-keys` of the
    /// demo.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// ```
    /// # async fn f(auth: tower_oidc::OidcLayer, confirmed: bool) -> Result<(), tower_oidc::Error> {
    /// if confirmed && auth.reset_keys().await? {
    ///     println!("all users sign in again");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn reset_keys(&self) -> Result<bool, Error> {
        Ok(self.runtime.records.reset_index().await?)
    }
}

impl<S> Layer<S> for OidcLayer {
    type Service = Oidc<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OidcLayer::layer(self, inner)
    }
}

opaque!(OidcLayer, |layer| public_url = layer.runtime.settings.public_url.as_str());

/// The inner service of [`OidcLayer::endpoints`]: it answers 404.
#[derive(Clone, Debug)]
pub struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        std::future::ready(Ok(page::plain(StatusCode::NOT_FOUND, "Not found.").map(Full::new)))
    }
}
