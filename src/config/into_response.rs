//! Hooks that return a response of axum's.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum_core::body::Body;
use axum_core::response::IntoResponse;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::HookResponse;
use crate::html::response;

impl<R: IntoResponse> HookResponse<Body> for R {
    fn into_bytes(self) -> Response<Bytes> {
        let (head, body) = self.into_response().into_parts();
        // Neither a hook nor the extractor that calls it is a future that could wait.
        let collected = pin!(Limited::new(body, 1024 * 1024).collect()).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Ok(body)) = collected {
            return Response::from_parts(head, body.to_bytes());
        }
        tracing::error!(target: "tower_oidc", code = "hook.body", "a hook's response is not there at once, or has more than 1 MiB");
        response(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new(), &[])
    }
}
