//! The layer: one constructor for each mode.

pub(crate) mod any_body;
pub(crate) mod future;
pub(crate) mod health;
pub(crate) mod require;
pub(crate) mod service;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service};

use self::any_body::AnyBodyLayer;
use self::health::{Health, health};
use self::service::Oidc;
use crate::config::Config;
use crate::config::mode::Mode;
use crate::config::shared_account::SharedAccount;
use crate::error::{ConfigError, Error};
use crate::extract::background_tokens::BackgroundTokens;
use crate::page;
use crate::state::Runtime;
use crate::store::Store;
use crate::tokens::account_status::{AccountStatus, status};

/// Signs people in, and gives handlers [`CurrentUser`](crate::CurrentUser) and
/// [`UserTokens`](crate::UserTokens). Clones are cheap and share everything.
#[derive(Clone)]
pub struct OidcLayer {
    pub(crate) runtime: Arc<Runtime>,
}

impl OidcLayer {
    /// A layer in the mode that the configuration says ([`Config::mode`](crate::Config::mode)).
    ///
    /// The provider need not answer yet: the application starts, serves, and signs people in as soon as it does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn from_config(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Ok(Self { runtime: Runtime::new(config, Arc::new(store))? })
    }

    /// [`OidcLayer::from_config`] in the mode [`Mode::PerUser`]: each person has their own tokens, and they are kept in
    /// the store.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn per_user(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Self::from_config(config.mode(Mode::PerUser), store)
    }

    /// [`OidcLayer::from_config`] in the mode [`Mode::Stateless`]: each person has their own tokens, and their browser
    /// keeps them. Session and grants are sealed into cookies.
    ///
    /// The store keeps a refreshed token until the browser has it, and an ended session until its cookies expire. Processes
    /// that share the store act as one: parallel requests share one refresh, late requests with an older cookie get the
    /// same result, and what is ended at one process, a session or a connection, is ended at the others within
    /// [`Config::max_staleness`](crate::Config::max_staleness), or at once where the store notifies.
    ///
    /// With [`MemoryStore`](crate::store::MemoryStore) this holds within one process and until it ends. Cookies outlive
    /// the process, so that the next process does not know
    ///
    /// - a logout, here or at the provider: cookies that were copied before count until the session's time is over,
    /// - a connection that was taken back, unless the provider revoked its tokens,
    /// - a login's callback, which could be received twice (the provider takes its code once),
    /// - the newest generation of a refresh token: it would spend an older one.
    ///
    /// Every grant ends with its session, so that connections say [`GrantLifetime::Session`](crate::GrantLifetime::Session).
    /// Browsers and proxies bound how large cookies may be: see [`Config::max_cookie_bytes`](crate::Config::max_cookie_bytes).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn stateless(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Self::from_config(config.mode(Mode::Stateless), store)
    }

    /// [`OidcLayer::from_config`] in the mode [`Mode::SingleUser`]: one account's tokens serve everybody, whether they are
    /// signed in or not.
    ///
    /// Handlers are the same as with [`OidcLayer::per_user`]. People can sign in all the same, to be known and to be
    /// admins; the tokens of their logins are not kept.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn single_user(
        config: Config,
        account: SharedAccount,
        store: impl Store,
    ) -> Result<Self, ConfigError> {
        Self::from_config(config.mode(Mode::SingleUser(account)), store)
    }

    /// How the account of [`OidcLayer::single_user`] stands at each connection, for readiness routes and operators. It
    /// asks for tokens as requests would, one for each resource indicator, for at most two seconds each connection.
    ///
    /// A connection without resources, the login too, is left out: no API is called with its tokens. Where none has any,
    /// the login is there alone. Empty in the other modes.
    pub async fn account_status(&self) -> Vec<AccountStatus> {
        status(&self.runtime).await
    }

    /// The capability to use people's grants in work that no request asks for. Make it in `main`, for the worker; a
    /// handler has no way to it.
    pub fn background_tokens(&self) -> BackgroundTokens {
        BackgroundTokens::new(Arc::clone(&self.runtime))
    }

    /// Puts the layer around a service, such as a whole router: the outermost place, and the quickest.
    pub fn layer<S>(&self, inner: S) -> Oidc<S> {
        Oidc::new(inner, Arc::clone(&self.runtime))
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
        AnyBodyLayer::new(Arc::clone(&self.runtime))
    }

    /// The layer's own endpoints alone, for an application where the layer cannot be outermost: mount it so that it
    /// gets the requests below `/auth/`, with their whole path.
    pub fn endpoints(&self) -> Oidc<NotFound> {
        self.layer(NotFound)
    }

    /// Waits until everything is written that must not be lost: refreshes under way, sessions that are being ended.
    /// To be called when the server has stopped, before the process ends. A store that stays away keeps it
    /// waiting, and so does a provider whose keys cannot be read for tokens that came already: put a time limit around it.
    pub async fn drain(&self) {
        self.runtime.tasks.close();
        self.runtime.tasks.wait().await;
        self.runtime.tasks.reopen();
    }

    /// Whether the store, the provider and its keys are there, for the application's own readiness route. It takes two
    /// seconds at most, and asks the provider no oftener than logins do.
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
    /// Mount it outside the layer, or below it where probes send no cookies: a request with a session's cookie waits
    /// for the store before it comes to any handler.
    pub async fn health(&self) -> Health {
        health(&self.runtime).await
    }

    /// Deletes records that have expired, and returns how many. They count for nothing already; this makes room.
    ///
    /// The layer does so by itself when somebody signs in, is signed out by a provider or (stateless mode) something is
    /// noted where processes meet, at most every ten minutes; several processes do not disturb each other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer.
    pub async fn delete_expired(&self) -> Result<u64, Error> {
        Ok(self.runtime.records.delete_expired().await?)
    }
}

impl<S> Layer<S> for OidcLayer {
    type Service = Oidc<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OidcLayer::layer(self, inner)
    }
}

impl fmt::Debug for OidcLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcLayer").field("public_url", &self.runtime.settings.public_url.as_str()).finish()
    }
}

/// What stands below the layer's endpoints when they are mounted alone: nothing.
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
        std::future::ready(Ok(page::plain(StatusCode::NOT_FOUND, "There is nothing here.").map(Full::new)))
    }
}
