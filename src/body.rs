//! The bodies of responses to requests of browsers, and of requests to APIs.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{Fuse, UnsyncBoxBody};
use http_body_util::{BodyExt, Either, Full};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tower::BoxError;

use crate::secret::opaque;

pin_project! {
    /// The body of a response behind [`OidcLayer::any_body`](crate::OidcLayer::any_body): the inner service's, as it is, or
    /// the layer's own bytes.
    pub struct ResponseBody<B> {
        #[pin]
        body: Either<B, Full<Bytes>>,
    }
}

impl<B> ResponseBody<B> {
    /// The inner service's body.
    pub(crate) fn inner(body: B) -> Self {
        Self { body: Either::Left(body) }
    }
}

impl<B> From<Bytes> for ResponseBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self { body: Either::Right(Full::new(bytes)) }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

opaque!(ResponseBody<B>);

/// The body of a request to an API, or of its response: bytes, or a stream of them.
///
/// It is a [`Body`], so that it goes into a response of the application as it is, for example with axum's `Body::new`. All
/// clones of a stream share it: it can be read once.
#[derive(Clone, Default)]
pub struct ApiBody {
    pub(crate) bytes: Bytes,
    stream: Option<Arc<Mutex<Fuse<UnsyncBoxBody<Bytes, BoxError>>>>>,
}

impl ApiBody {
    /// A body that is sent, or received, while it is made.
    pub fn stream(body: impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static) -> Self {
        let stream = UnsyncBoxBody::new(body.map_err(Into::into)).fuse();
        Self { bytes: Bytes::new(), stream: Some(Arc::new(Mutex::new(stream))) }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }
}

impl<T: Into<Bytes>> From<T> for ApiBody {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), stream: None }
    }
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(stream) = &self.stream {
            return Pin::new(&mut *stream.lock()).poll_frame(cx);
        }
        let bytes = mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().map_or(self.bytes.is_empty(), |stream| stream.lock().is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let size = || SizeHint::with_exact(self.bytes.len() as u64);
        self.stream.as_ref().map_or_else(size, |stream| stream.lock().size_hint())
    }
}

opaque!(ApiBody, |body| is_stream = body.is_stream());
