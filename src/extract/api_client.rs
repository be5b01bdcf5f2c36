//! An HTTP client that calls APIs as the user of a request.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::add_access_token::{AddAccessToken, within_deadline};
use super::user_tokens::UserTokens;
use crate::body::ApiBody;
use crate::config::resources::parse;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::provider::{API_BODY, OutboundError, read};
use crate::secret::opaque;

/// Calls APIs with the user's own tokens, by the rules of [`AddAccessTokenLayer`](crate::AddAccessTokenLayer). A
/// response body has at most 16 MiB, unless it is [a stream](ApiRequest::stream).
///
/// ```
/// use http::Method;
/// use serde_json::{Value, json};
/// use tower_oidc::{Error, UserTokens};
///
/// async fn postpone(tokens: UserTokens) -> Result<Value, Error> {
///     let client = tokens.client();
///     let meeting = client.get("https://api.example/calendar/meetings/7").await?;
///     let etag = meeting.headers().get("etag").cloned();
///     let request = client.request(Method::PATCH, "https://api.example/calendar/meetings/7");
///     let request = request.json(&json!({ "start": "10:30" }));
///     let request = match etag {
///         Some(etag) => request.header("if-match", etag),
///         None => request,
///     };
///     request.send().await?.json()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ApiClient(AddAccessToken<ApiOutbound>);

impl UserTokens {
    /// An HTTP client that calls APIs as this user.
    pub fn client(&self) -> ApiClient {
        let outbound = self.runtime().outbound.clone();
        let send = move |request| {
            let outbound = outbound.clone();
            async move { outbound.stream(request).await }
        };
        ApiClient(self.layer().layer(ApiOutbound::new(service_fn(send))))
    }
}

impl ApiClient {
    /// A request with this method to this URL, which [`ApiRequest::send`] sends.
    pub fn request(&self, method: Method, url: &str) -> ApiRequest {
        // The one parser first: what it reads is what is matched and called.
        let url = parse(url).ok_or_else(Error::no_token_for_url);
        let request = url.map(|url| Request::builder().method(method).uri(url.as_str()));
        ApiRequest { client: self.clone(), request, body: ApiBody::default() }
    }

    /// GETs a URL.
    ///
    /// # Errors
    ///
    /// As [`ApiRequest::send`].
    pub async fn get(&self, url: &str) -> Result<ApiResponse, Error> {
        self.request(Method::GET, url).send().await
    }

    /// DELETEs a URL.
    ///
    /// # Errors
    ///
    /// As [`ApiRequest::send`].
    pub async fn delete(&self, url: &str) -> Result<ApiResponse, Error> {
        self.request(Method::DELETE, url).send().await
    }

    /// Sends a POST request with a JSON body.
    ///
    /// # Errors
    ///
    /// Those of [`ApiRequest::send`], and [`ErrorKind::UpstreamError`] if the value cannot be serialized as JSON.
    pub async fn post_json(&self, url: &str, value: &(impl Serialize + Sync)) -> Result<ApiResponse, Error> {
        self.request(Method::POST, url).json(value).send().await
    }
}

/// A request to an API, made by [`ApiClient::request`]. What is wrong with it is said by [`ApiRequest::send`].
#[must_use = "`send` sends it"]
pub struct ApiRequest {
    client: ApiClient,
    request: Result<Builder, Error>,
    body: ApiBody,
}

impl ApiRequest {
    /// With a header, beside those of the same name. The token's own header is the client's: an `Authorization` header
    /// is replaced.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        self.request = self.request.map(|request| request.header(name, value));
        self
    }

    /// With a body of any kind: bytes, or a [stream](ApiBody::stream), which is sent once. Its `Content-Type` is a
    /// [header](ApiRequest::header).
    pub fn body(mut self, body: impl Into<ApiBody>) -> Self {
        self.body = body.into();
        self
    }

    /// With a JSON body.
    pub fn json(self, value: &impl Serialize) -> Self {
        let unserializable = |error| failed("the value cannot be serialized as JSON", error);
        match serde_json::to_vec(value).map_err(unserializable) {
            Ok(body) => self.typed("application/json", body),
            // What was wrong first is what is said.
            Err(error) => Self { request: self.request.and(Err(error)), ..self },
        }
    }

    /// With a form body (`application/x-www-form-urlencoded`) of these names and values.
    pub fn form(self, pairs: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.typed("application/x-www-form-urlencoded", body)
    }

    fn typed(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        if let Some(headers) = self.request.as_mut().ok().and_then(Builder::headers_mut) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        self.body(body)
    }

    /// Sends it. A response of any status is no error.
    ///
    /// # Errors
    ///
    /// As [`UserTokens::access_token`], and [`ErrorKind::UpstreamError`] when the request cannot be sent or the API does
    /// not answer.
    pub async fn send(self) -> Result<ApiResponse, Error> {
        let (client, request) = self.built()?;
        let what = (request.uri().clone(), request.body().is_stream());
        let call = async { read(client.run(request).await?, API_BODY).await.map_err(Error::unanswered) };
        within_deadline(&client.tokens, what, call).await.map(ApiResponse)
    }

    /// Sends it, and gives the response as soon as its head is there. Nothing limits the time or the size of its body.
    ///
    /// ```
    /// use tower_oidc::{ApiBody, Error, UserTokens};
    ///
    /// async fn download(tokens: UserTokens) -> Result<http::Response<ApiBody>, Error> {
    ///     tokens.client().request(http::Method::GET, "https://api.example/files/7").stream().await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ApiRequest::send`].
    pub async fn stream(self) -> Result<Response<ApiBody>, Error> {
        let (client, request) = self.built()?;
        client.oneshot(request).await
    }

    fn built(self) -> Result<(AddAccessToken<ApiOutbound>, Request<ApiBody>), Error> {
        let request = self.request?.body(self.body);
        Ok((self.client.0, request.map_err(|error| failed("the request cannot be sent", error))?))
    }
}

fn failed(message: &'static str, error: impl Into<BoxError>) -> Error {
    Error::upstream(message).with_source(error)
}

// Without the URL's query, headers and body: they are between the API and the person.
opaque!(ApiRequest, |it| method = it.request.as_ref().map(Builder::method_ref));

/// The layer's own client, for APIs.
type ApiOutbound = BoxCloneSyncService<Request<ApiBody>, Response<ApiBody>, OutboundError>;

/// The response of an API. `Debug` shows its status and size only, because the contents may be private.
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

    /// The body, as it was received.
    pub fn bytes(&self) -> &Bytes {
        self.0.body()
    }

    /// The body as text. What is not UTF-8 in it is replaced by U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// The body of a success as JSON. For that of an error, decode [`ApiResponse::bytes`].
    ///
    /// # Errors
    ///
    /// As [`ApiResponse::error_for_status`], and [`ErrorKind::UpstreamError`] when the body is not such JSON.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let success = self.error_for_status()?;
        let unexpected = |error| failed("the API's answer is not as expected", error);
        serde_json::from_slice(success.bytes()).map_err(unexpected)
    }

    /// The same response, if it says success.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamError`] when its status is none of 200 to 299.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if self.status().is_success() {
            return Ok(self);
        }
        Err(Error::upstream(format!("the API answered {}", self.status())))
    }

    /// The whole response.
    pub fn into_inner(self) -> Response<Bytes> {
        self.0
    }
}

opaque!(ApiResponse, |response| status = response.status(), length = response.bytes().len());
