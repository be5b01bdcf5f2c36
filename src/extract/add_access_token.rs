//! A layer for HTTP clients that adds an access token to requests for registered URLs, and to no others.

use std::any::Any;
use std::error::Error as _;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode, Uri};
use tokio::time::timeout;
use tower::{BoxError, Layer, Service, ServiceExt};
use url::Url;

use super::access_token::AccessToken;
use super::user_tokens::UserTokens;
use crate::body::ApiBody;
use crate::config::resources::parse;
use crate::error::{Error, ErrorKind};
use crate::events::EventCode;
use crate::protocol::{Demand, LoginOptions, challenge};
use crate::provider::{OutboundError, bearer, cause};
use crate::secret::opaque;
use crate::store::BoxFuture;

/// The longest that a call may take, with renewed tokens and redirects.
const DEADLINE: Duration = Duration::from_secs(30);
/// So many redirects are followed.
const MOST_REDIRECTS: usize = 10;

/// A layer over any HTTP client that is a tower service: it sends requests with the access token of this request's
/// user.
///
/// 1. A registered resource must cover the first URL; otherwise nothing is sent. An existing `Authorization` header is
///    replaced.
/// 2. The layer follows at most ten redirects; the client must not follow any. A redirect out of the resource is
///    followed without the token, a redirect to another origin without cookies, and a redirect from https to http is
///    an error.
/// 3. After a 401 the token is refreshed once and the request sent once more. If the API refuses again, or answers
///    `insufficient_scope` (RFC 6750) or `insufficient_user_authentication` (RFC 9470), the error is
///    [`ErrorKind::ConsentRequired`](crate::ErrorKind::ConsentRequired), which sends the user to the provider.
/// 4. A call takes at most 30 seconds, with refreshes and redirects, until its response begins.
/// 5. A call without a valid response is the error [`ErrorKind::UpstreamError`](crate::ErrorKind::UpstreamError), and the
///    event [`EventCode::ApiFailed`](crate::EventCode::ApiFailed).
///
/// Bodies are `Clone`, because a request may be sent twice, and `Default`, because a redirect may drop them. A
/// [stream](ApiBody::stream) is sent once and for as long as it takes: a 401, after which the token is refreshed, and a
/// redirect that keeps the body are then the response.
///
/// The service is always ready: `call` needs no `ready` before it. If the client's error is a `BoxError`, use `call`
/// and not `oneshot` in a handler; the compiler otherwise reports that the handler's future is not `Send`
/// ("implementation of `From` is not general enough").
///
/// # With reqwest
///
/// ```no_run
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # async fn call(tokens: tower_oidc::UserTokens) -> Result<(), Box<dyn std::error::Error>> {
/// // The layer follows redirects: reqwest would send the token along.
/// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let client = service_fn(move |request: Request<Bytes>| {
///     let client = client.clone();
///     async move {
///         let response = client.execute(request.try_into()?).await?;
///         Ok::<_, reqwest::Error>(Response::<reqwest::Body>::from(response))
///     }
/// });
/// let request = Request::get("https://api.example/agenda").body(Bytes::new())?;
/// let response = tokens.layer().layer(client).oneshot(request).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AddAccessTokenLayer {
    tokens: UserTokens,
}

impl UserTokens {
    /// A layer with which any HTTP client calls APIs as this user. See [`AddAccessTokenLayer`].
    pub fn layer(&self) -> AddAccessTokenLayer {
        AddAccessTokenLayer { tokens: self.clone() }
    }
}

impl<S> Layer<S> for AddAccessTokenLayer {
    type Service = AddAccessToken<S>;

    fn layer(&self, inner: S) -> AddAccessToken<S> {
        AddAccessToken { inner, tokens: self.tokens.clone() }
    }
}

/// The service of [`AddAccessTokenLayer`].
#[derive(Clone)]
pub struct AddAccessToken<S> {
    inner: S,
    pub(super) tokens: UserTokens,
}

opaque!(AddAccessToken<S>, |service| tokens = service.tokens);

impl<S, B, R> Service<Request<B>> for AddAccessToken<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Clone + Default + Send + Sync + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<R>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Each request waits for a client of its own: one call may need several.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (this, what) = (self.clone(), (request.uri().clone(), is_stream(request.body())));
        Box::pin(async move { within_deadline(&this.tokens, what, this.run(request)).await })
    }
}

/// Ends a call with an error after 30 seconds, and reports one that failed. One that sends a stream takes as long as the stream.
pub(super) async fn within_deadline<T>(
    tokens: &UserTokens, (uri, is_stream): (Uri, bool), call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Err(Error::upstream("the API takes too long"));
    let done = if is_stream { call.await } else { timeout(DEADLINE, call).await.unwrap_or_else(late) };
    if let Some(error) = done.as_ref().err().filter(|error| error.kind() == ErrorKind::UpstreamError) {
        // The words of another client may repeat the query.
        let why = error.source().and_then(|why| why.downcast_ref()).map(|why: &OutboundError| cause(why));
        let (url, why) = (uri.to_string(), why.unwrap_or_else(|| error.to_string()));
        let url = url.split('?').next().unwrap_or_default();
        tokens.runtime().events().emit(EventCode::ApiFailed, None, format_args!("{url}: {why}"));
    }
    done
}

fn is_stream<B: 'static>(body: &B) -> bool {
    (body as &dyn Any).downcast_ref().is_some_and(ApiBody::is_stream)
}

impl<S> AddAccessToken<S> {
    pub(super) async fn run<B, R>(&self, request: Request<B>) -> Result<Response<R>, Error>
    where
        S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>> + Clone,
        B: Clone + Default + 'static,
    {
        let tokens = &self.tokens;
        let mut request = Outgoing::new(request)?;
        let source = tokens.source(&request.url).await?;
        let mut token = Some(tokens.token(&source, None).await?);
        let (mut renewed, mut redirects) = (false, 0);
        loop {
            let response = self.inner.clone().oneshot(request.with(token.as_ref())?).await;
            let response = response.map_err(Error::unanswered)?;
            if let Some(released) = &token {
                let missing = match (wanted(&response), response.status()) {
                    (Some(Demand::Authentication { acr_values, max_age }), StatusCode::UNAUTHORIZED) => {
                        Some((Vec::new(), LoginOptions { acr_values, max_age, ..LoginOptions::default() }))
                    }
                    (Some(Demand::Scopes(scopes)), StatusCode::FORBIDDEN) if tokens.may_ask(&source, &scopes) => {
                        Some((scopes, LoginOptions::default()))
                    }
                    (_, StatusCode::UNAUTHORIZED) if renewed => Some((Vec::new(), LoginOptions::default())),
                    (_, StatusCode::UNAUTHORIZED) => {
                        renewed = true;
                        token = Some(tokens.token(&source, Some(released)).await?);
                        if request.is_sent_once() {
                            return Ok(response);
                        }
                        continue;
                    }
                    _ => None,
                };
                if let Some((scopes, options)) = missing {
                    return Err(tokens.consent_required(&source.connection, &scopes, &options).await);
                }
            }
            let Some(target) = redirect_target(&request.url, &response) else { return Ok(response) };
            if request.is_sent_once() && request.keeps_body(response.status()) {
                return Ok(response);
            }
            let downgrade = request.url.scheme() == "https" && target.scheme() != "https";
            let unsafe_target = || Error::upstream("the API redirects to a URL that is not safe");
            let target = parse(target.as_str()).filter(|_| !downgrade).ok_or_else(unsafe_target)?;
            // Once outside, always outside: who was sent away does not get the token by sending back.
            if tokens.source(&target).await.ok().as_ref() != Some(&source) {
                token = None;
            }
            if redirects == MOST_REDIRECTS {
                return Err(Error::upstream("the API redirects too often"));
            }
            redirects += 1;
            request.follow(target, response.status());
        }
    }
}

/// A request that may be sent more than once. Its extensions are what the caller tells its own client, such as a span.
struct Outgoing<B> {
    request: Request<B>,
    url: Url,
}

impl<B: Clone + Default + 'static> Outgoing<B> {
    fn new(mut request: Request<B>) -> Result<Self, Error> {
        let url = parse(&request.uri().to_string()).ok_or_else(Error::no_token_for_url)?;
        request.headers_mut().remove(AUTHORIZATION);
        // The URL says it, and a redirect changes it.
        request.headers_mut().remove(HOST);
        Ok(Self { request, url })
    }

    fn is_sent_once(&self) -> bool {
        is_stream(self.request.body())
    }

    /// Whether a redirect repeats the request. Otherwise it is a GET without a body (RFC 9110 section 15.4).
    fn keeps_body(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
            || self.request.method() == Method::HEAD
    }

    /// The request, as it is sent with this token (RFC 6750 section 2.1).
    fn with(&self, token: Option<&AccessToken>) -> Result<Request<B>, Error> {
        let mut request = self.request.clone();
        let uncallable = |error| Error::upstream("the URL cannot be called").with_source(error);
        *request.uri_mut() = self.url.as_str().parse::<Uri>().map_err(uncallable)?;
        if let Some(authorization) = token.and_then(|token| bearer(&token.0)) {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    /// The next request of a redirect.
    fn follow(&mut self, target: Url, status: StatusCode) {
        if !self.keeps_body(status) {
            *self.request.method_mut() = Method::GET;
            *self.request.body_mut() = B::default();
            let _ =
                [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING].map(|name| self.request.headers_mut().remove(name));
        }
        if target.origin() != self.url.origin() {
            // What was meant for one server is none of the next one's business.
            let _ = [COOKIE, PROXY_AUTHORIZATION].map(|name| self.request.headers_mut().remove(name));
        }
        self.url = target;
    }
}

fn redirect_target<R>(from: &Url, response: &Response<R>) -> Option<Url> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| redirects)?;
    from.join(location.to_str().ok()?).ok()
}

fn wanted<R>(response: &Response<R>) -> Option<Demand> {
    response.headers().get_all(WWW_AUTHENTICATE).iter().find_map(|header| challenge::demand(header.as_bytes()))
}
