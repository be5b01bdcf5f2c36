//! Route layers: somebody must be signed in, be an admin, or meet a condition.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, mem};

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service};

use super::future::ResponseFuture;
use crate::error::Error;
use crate::extract::current_user::CurrentUser;
use crate::extract::request::RequestState;
use crate::extract::user_tokens::UserTokens;

/// A layer for routes, inside [`OidcLayer`](crate::OidcLayer): who does not meet the condition never reaches the
/// handler. Nobody signed in: the login, or 401. Somebody who may not: 403.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_oidc::{OidcLayer, RequireLayer};
///
/// # fn app(auth: OidcLayer) -> Router {
/// let admin = Router::new().route("/admin", get(|| async { "for admins" })).layer(RequireLayer::admin());
/// let beta = Router::new()
///     .route("/beta", get(|| async { "for the few" }))
///     .layer(RequireLayer::user(|user| user.email_verified()));
/// Router::new().merge(admin).merge(beta).layer(auth)
/// # }
/// # }
/// ```
#[derive(Clone)]
pub struct RequireLayer(Condition);

#[derive(Clone)]
enum Condition {
    Login,
    Admin,
    User(Arc<dyn Fn(&CurrentUser) -> bool + Send + Sync>),
    Connection(Arc<str>),
}

impl RequireLayer {
    /// Somebody is signed in.
    pub fn login() -> Self {
        Self(Condition::Login)
    }

    /// An admin is signed in.
    pub fn admin() -> Self {
        Self(Condition::Admin)
    }

    /// Somebody is signed in for whom this is true: a claim, a domain, a recent authentication.
    pub fn user(condition: impl Fn(&CurrentUser) -> bool + Send + Sync + 'static) -> Self {
        Self(Condition::User(Arc::new(condition)))
    }

    /// Somebody is signed in who has granted this connection: who has not is sent to grant it, or gets 403 with
    /// `connect_url`.
    pub fn connection(name: impl Into<String>) -> Self {
        Self(Condition::Connection(name.into().into()))
    }

    /// What must be asked of the store before the request may go on.
    fn check(&self, state: &RequestState) -> Result<Option<(UserTokens, Arc<str>)>, Error> {
        match &self.0 {
            Condition::Login => state.require_user().map(|_| None),
            Condition::Admin => state.require_admin().map(|_| None),
            Condition::User(condition) if condition(&state.require_user()?) => Ok(None),
            Condition::User(_) => Err(Error::forbidden("you may not do this")),
            Condition::Connection(name) => Ok(Some((UserTokens::from_state(state)?, Arc::clone(name)))),
        }
    }
}

impl fmt::Debug for RequireLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Require")
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Require { inner, require: self.clone() }
    }
}

/// The service of [`RequireLayer`].
#[derive(Clone, Debug)]
pub struct Require<S> {
    inner: S,
    require: RequireLayer,
}

impl<S, B, R> Service<Request<B>> for Require<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let checked = RequestState::of(request.extensions()).and_then(|state| self.require.check(state));
        match checked {
            Ok(None) => ResponseFuture::passed(self.inner.call(request)),
            Ok(Some((tokens, name))) => {
                // The service that was polled ready is the one to call.
                let ready = self.inner.clone();
                let mut ready = mem::replace(&mut self.inner, ready);
                ResponseFuture::boxed(async move {
                    match tokens.require_connection(&name).await {
                        Ok(()) => ready.call(request).await,
                        Err(error) => Ok(error.into_response()),
                    }
                })
            }
            Err(error) => ResponseFuture::answered(error.into_response()),
        }
    }
}
