//! The layer for services whose response body is not made of bytes.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::util::MapResponse;
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
        Oidc { inner: AnyBody(inner), runtime: Arc::clone(&self.0) }
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

/// Puts the inner service's body into the layer's.
type Wrap<R> = fn(Response<R>) -> Response<ResponseBody<R>>;

impl<S: Service<Request<B>, Response = Response<R>>, B, R> Service<Request<B>> for AnyBody<S> {
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = <MapResponse<S, Wrap<R>> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let wrap: Wrap<R> = |response| response.map(ResponseBody::inner);
        MapResponse::new(&mut self.0, wrap).call(request)
    }
}
