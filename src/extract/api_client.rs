//! A ready HTTP client that calls APIs as the person of a request.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::{Layer, Service, ServiceExt};

use super::add_access_token::AddAccessToken;
use super::user_tokens::UserTokens;
use crate::config::resources::parse;
use crate::error::{Error, ErrorKind};
use crate::provider::http_client::{API_BODY, CALL_DEADLINE, Outbound, OutboundError};
use crate::store::BoxFuture;

/// Calls APIs with the person's own tokens, as [`AddAccessTokenLayer`](crate::AddAccessTokenLayer) promises. An answer has at
/// most 16 MiB.
#[derive(Clone)]
pub struct ApiClient(AddAccessToken<ApiOutbound>);

impl UserTokens {
    /// An HTTP client that calls APIs as this person.
    pub fn client(&self) -> ApiClient {
        ApiClient(self.layer().layer(ApiOutbound(self.runtime().outbound.clone())))
    }
}

impl ApiClient {
    /// GETs a URL.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::call`].
    pub async fn get(&self, url: &str) -> Result<ApiResponse, Error> {
        self.call(Method::GET, url, HeaderMap::new(), Bytes::new()).await
    }

    /// POSTs JSON to a URL.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::call`], and [`ErrorKind::UpstreamError`] when the value cannot be written as JSON.
    pub async fn post_json(&self, url: &str, value: &(impl Serialize + Sync)) -> Result<ApiResponse, Error> {
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::new(ErrorKind::UpstreamError, "the value is no JSON").with_source(error)
        })?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        self.call(Method::POST, url, headers, body.into()).await
    }

    /// Any request.
    ///
    /// # Errors
    ///
    /// As [`UserTokens::access_token`], and [`ErrorKind::UpstreamError`] when the API does not answer. An answer of any status
    /// is no error.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<ApiResponse, Error> {
        // The one parser first: what it reads is what is matched and called.
        let url = parse(url).ok_or_else(Error::no_token_for_url)?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| {
            Error::new(ErrorKind::UpstreamError, "the URL cannot be called").with_source(error)
        })?;
        self.0.clone().oneshot(request).await.map(ApiResponse)
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The layer's own client, for APIs.
#[derive(Clone)]
struct ApiOutbound(Outbound);

impl Service<Request<Bytes>> for ApiOutbound {
    type Response = Response<Bytes>;
    type Error = OutboundError;
    type Future = BoxFuture<'static, Result<Response<Bytes>, OutboundError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OutboundError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let outbound = self.0.clone();
        // An API may take longer than a provider; the layer above has the last word.
        Box::pin(async move { outbound.send(request, 3 * CALL_DEADLINE, API_BODY).await })
    }
}

/// What an API answered. `Debug` shows its status and size: the rest is between the API and the person.
pub struct ApiResponse(Response<Bytes>);

impl ApiResponse {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// The body as it came.
    pub fn bytes(&self) -> &Bytes {
        self.0.body()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamError`] when the API answered with an error status, or with something else.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        if !self.status().is_success() {
            return Err(Error::new(ErrorKind::UpstreamError, format!("the API answered {}", self.status())));
        }
        serde_json::from_slice(self.bytes()).map_err(|error| {
            Error::new(ErrorKind::UpstreamError, "the API's answer is not as expected").with_source(error)
        })
    }

    /// The whole response.
    pub fn into_inner(self) -> Response<Bytes> {
        self.0
    }
}

impl fmt::Debug for ApiResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiResponse")
            .field("status", &self.status())
            .field("length", &self.bytes().len())
            .finish_non_exhaustive()
    }
}
