//! The layer: one constructor for each mode.

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

use self::health::{Health, health};
use self::service::Oidc;
use crate::config::Config;
use crate::config::mode::{Coordination, Mode};
use crate::config::shared_account::SharedAccount;
use crate::error::{ConfigError, Error};
use crate::extract::background_tokens::BackgroundTokens;
use crate::page;
use crate::state::Runtime;
use crate::store::{MemoryStore, Store};
use crate::tokens::account_status::{AccountStatus, status};

/// Signs people in, and gives handlers [`CurrentUser`](crate::CurrentUser) and
/// [`UserTokens`](crate::UserTokens). Clones are cheap and share everything.
#[derive(Clone)]
pub struct OidcLayer {
    pub(crate) runtime: Arc<Runtime>,
}

impl OidcLayer {
    /// Each person has their own tokens, and they are kept in a store.
    ///
    /// The provider need not answer yet: the application starts, serves, and signs people in as soon as it does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn per_user(config: Config, store: impl Store) -> Result<Self, ConfigError> {
        Ok(Self { runtime: Runtime::new(Mode::PerUser, config, Arc::new(store))? })
    }

    /// Each person has their own tokens, and their browser carries them: session and grants, sealed into cookies. The
    /// server keeps nothing that must outlive it: what it remembers is in memory, and bounded in time.
    ///
    /// For one process. It survives refresh tokens that rotate: parallel requests share one refresh, late ones with an
    /// older cookie get its outcome, and what a browser that hung up missed reaches it with the next answer.
    ///
    /// What the process remembers holds within it, and until it ends; every secret that opens the cookies brings back
    /// what another process, or the next one, has not seen:
    ///
    /// - a logout: cookies that somebody copied before would count there until the session's time is over,
    /// - a logout at the provider (back-channel or front-channel), likewise,
    /// - a connection that was taken back, likewise, unless the provider revoked its tokens,
    /// - a login's callback, which could be received twice (the provider takes its code once),
    /// - the newest generation of a refresh token: a process that never saw it would spend an older one.
    ///
    /// With several processes, let them meet: [`OidcLayer::stateless_with`].
    ///
    /// Every grant ends with its session, so that connections say [`GrantLifetime::Session`](crate::GrantLifetime::Session).
    /// Browsers and proxies bound how large cookies may be: see [`Config::max_cookie_bytes`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn stateless(config: Config) -> Result<Self, ConfigError> {
        let mode = Mode::Stateless(Coordination::InProcess);
        Ok(Self { runtime: Runtime::new(mode, config, Arc::new(MemoryStore::new()))? })
    }

    /// The same for several processes, which meet at a store: it holds what was refreshed until the browser has it,
    /// and what was ended until nobody can bring it back. All that [`OidcLayer::stateless`] promises within one process
    /// then holds for all of them; what is ended at one, a session or a connection, is ended at the others within
    /// [`Config::max_staleness`](Config::max_staleness), or at once where the store can tell.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the configuration, at once.
    pub fn stateless_with(config: Config, coordination: impl Store) -> Result<Self, ConfigError> {
        let mode = Mode::Stateless(Coordination::Shared);
        Ok(Self { runtime: Runtime::new(mode, config, Arc::new(coordination))? })
    }

    /// One account's tokens serve everybody, whether they are signed in or not.
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
        Ok(Self { runtime: Runtime::new(Mode::SingleUser(account), config, Arc::new(store))? })
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
