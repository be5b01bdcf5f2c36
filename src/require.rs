//! Route layers: somebody must be signed in, be an admin, or meet a condition.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::current_user::{Admin, CurrentUser};
use crate::error::Error;
use crate::request_state::RequestState;

/// A layer for routes, inside [`OidcLayer`](crate::OidcLayer): who does not meet the condition never reaches the
/// handler. Nobody signed in: the login, or 401. Somebody who may not: 403.
#[derive(Clone)]
pub struct Require(Condition);

#[derive(Clone)]
enum Condition {
    Login,
    Admin,
    User(Arc<dyn Fn(&CurrentUser) -> bool + Send + Sync>),
}

impl Require {
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

    fn check(&self, state: &RequestState) -> Result<(), Error> {
        match &self.0 {
            Condition::Login => state.require_user().map(drop),
            Condition::Admin => Admin::from_state(state).map(drop),
            Condition::User(condition) if condition(&state.require_user()?) => Ok(()),
            Condition::User(_) => Err(Error::forbidden("you may not do this")),
        }
    }
}

impl fmt::Debug for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Require")
    }
}

impl<S> Layer<S> for Require {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireService { inner, require: self.clone() }
    }
}

/// The service of [`Require`].
#[derive(Clone, Debug)]
pub struct RequireService<S> {
    inner: S,
    require: Require,
}

impl<S, B, R> Service<Request<B>> for RequireService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RequireFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let checked = RequestState::of(request.extensions()).and_then(|state| self.require.check(state));
        match checked {
            Ok(()) => RequireFuture { way: Way::Passed { inner: self.inner.call(request) } },
            Err(error) => RequireFuture { way: Way::Refused { error: Some(error) } },
        }
    }
}

pin_project! {
    /// The future of [`RequireService`].
    #[derive(Debug)]
    pub struct RequireFuture<F> {
        #[pin]
        way: Way<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = Projected]
    enum Way<F> {
        Passed {
            #[pin]
            inner: F,
        },
        Refused { error: Option<Error> },
    }
}

impl<F, R, E> Future for RequireFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            Projected::Passed { inner } => inner.poll(cx),
            Projected::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Ok(error.into_response())),
                None => Poll::Pending,
            },
        }
    }
}
