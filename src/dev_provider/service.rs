//! The provider as a tower service: collects the body and asks [`DevProvider::handle`].

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tower::Service;

use super::{DevProvider, MAX_BODY, response};

impl<B> Service<Request<B>> for DevProvider
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let provider = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let response = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => provider.handle(Request::from_parts(parts, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => {
                    response::empty(StatusCode::PAYLOAD_TOO_LARGE)
                }
                Err(_) => response::empty(StatusCode::BAD_REQUEST),
            };
            Ok(response.map(Full::new))
        })
    }
}
