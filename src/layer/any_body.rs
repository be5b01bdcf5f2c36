//! The layer for services whose response body is not made of bytes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::service::Oidc;
use crate::body::ResponseBody;
use crate::secret::opaque;
use crate::state::Runtime;

/// [`OidcLayer::any_body`](crate::OidcLayer::any_body).
#[derive(Clone)]
pub struct AnyBodyLayer(pub(super) Arc<Runtime>);

impl AnyBodyLayer {
    /// Puts the layer around a service.
    pub fn layer<S>(&self, inner: S) -> Oidc<AnyBody<S>> {
        Oidc::new(AnyBody(inner), Arc::clone(&self.0))
    }
}

impl<S> Layer<S> for AnyBodyLayer {
    type Service = Oidc<AnyBody<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        Self::layer(self, inner)
    }
}

opaque!(AnyBodyLayer);

/// A service whose responses have a [`ResponseBody`].
#[derive(Clone, Debug)]
pub struct AnyBody<S>(S);

impl<S, B, R> Service<Request<B>> for AnyBody<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AnyBodyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        AnyBodyFuture { inner: self.0.call(request) }
    }
}

pin_project! {
    /// The future of [`AnyBody`].
    pub struct AnyBodyFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, R, E> Future for AnyBodyFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx));
        Poll::Ready(response.map(|response| response.map(ResponseBody::inner)))
    }
}

opaque!(AnyBodyFuture<F>);
