//! Calls to APIs as the person of a request: the token goes where it belongs, and nowhere else.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::outbound::{API_BODY, Outbound};
use crate::resource;
use crate::user_tokens::UserTokens;

/// The longest that one call to an API may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// So many redirects are followed.
const MOST_REDIRECTS: usize = 10;

/// Calls APIs with the person's own tokens.
///
/// 1. The first URL must be covered by a registered resource; otherwise nothing is sent.
/// 2. Redirects are followed, at most ten. One that leaves the resource goes on without the token, and one that
///    leaves https is not followed.
/// 3. At 401 the token is renewed once and the request sent once more.
/// 4. A call takes at most 30 seconds and an answer at most 16 MiB.
#[derive(Clone)]
pub struct ApiClient {
    tokens: UserTokens,
    outbound: Outbound,
}

impl ApiClient {
    pub(crate) fn new(tokens: UserTokens, outbound: Outbound) -> Self {
        Self { tokens, outbound }
    }

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
    /// As [`ApiClient::call`], and [`ErrorKind::Upstream`] when the value cannot be written as JSON.
    pub async fn post_json(
        &self,
        url: &str,
        value: &(impl serde::Serialize + Sync),
    ) -> Result<ApiResponse, Error> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::new(ErrorKind::Upstream, "the value is no JSON").with_source(error))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        self.call(Method::POST, url, headers, body.into()).await
    }

    /// Any request. An `Authorization` among the headers is replaced.
    ///
    /// # Errors
    ///
    /// As [`UserTokens::for_url`], and [`ErrorKind::Upstream`] when the API does not answer. An answer of any status
    /// is no error.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<ApiResponse, Error> {
        let url = resource::parse(url).ok_or_else(|| {
            Error::new(ErrorKind::NoTokenForUrl, "no registered resource covers this URL, so nothing is sent")
        })?;
        let mut request = Outgoing { method, url, headers, body };
        request.headers.remove(AUTHORIZATION);
        let mut token = Some(self.tokens.for_parsed(&request.url, None).await?);
        let indicator = self.tokens.covering(&request.url);
        let mut renewed = false;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(&request, token.as_ref()).await?;
            if response.status() == StatusCode::UNAUTHORIZED
                && !renewed
                && let Some(rejected) = &token
            {
                renewed = true;
                token = Some(self.tokens.for_parsed(&request.url, Some(rejected)).await?);
                continue;
            }
            let Some(target) = redirect_target(&request.url, &response) else {
                return Ok(ApiResponse(response));
            };
            let Some(target) = resource::parse(target.as_str()) else {
                return Err(Error::new(ErrorKind::Upstream, "the API redirects to a URL that is not safe"));
            };
            if self.tokens.covering(&target) != indicator {
                token = None;
            }
            request.follow(target, response.status());
        }
        Err(Error::new(ErrorKind::Upstream, "the API redirects too often"))
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        token: Option<&crate::AccessToken>,
    ) -> Result<Response<Bytes>, Error> {
        let mut request = Request::new(outgoing.body.clone());
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.url.as_str().parse().map_err(|error: http::uri::InvalidUri| {
            Error::new(ErrorKind::Upstream, "the URL is not usable").with_source(error)
        })?;
        *request.headers_mut() = outgoing.headers.clone();
        if let Some(authorization) = token.and_then(crate::AccessToken::header) {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        self.outbound
            .send(request, DEADLINE, API_BODY)
            .await
            .map_err(|error| Error::new(ErrorKind::Upstream, "the API does not answer").with_source(error))
    }
}

struct Outgoing {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// The next request of a redirect (RFC 9110 section 15.4): all but 307 and 308 become a GET without a body.
    fn follow(&mut self, target: Url, status: StatusCode) {
        let keeps_body = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !keeps_body && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
            self.headers.remove(CONTENT_LENGTH);
        }
        if target.origin() != self.url.origin() {
            // What was meant for one server is none of the next one's business.
            for name in [COOKIE, PROXY_AUTHORIZATION, HOST] {
                self.headers.remove(name);
            }
        }
        self.url = target;
    }
}

fn redirect_target(from: &Url, response: &Response<Bytes>) -> Option<Url> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| redirects)?;
    from.join(location.to_str().ok()?).ok()
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("tokens", &self.tokens).finish_non_exhaustive()
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
    /// [`ErrorKind::Upstream`] when the API answered with an error status, or with something else.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        if !self.status().is_success() {
            let text = format!("the API answered {}", self.status());
            return Err(Error::new(ErrorKind::Upstream, text));
        }
        serde_json::from_slice(self.bytes()).map_err(|error| {
            Error::new(ErrorKind::Upstream, "the API's answer is not as expected").with_source(error)
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
