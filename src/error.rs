//! Errors, by the party that must act: the user, the operator, or the developer.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use tower::BoxError;

use crate::events::entries;
use crate::html::response;
use crate::store::StoreError;

/// Seconds after which a client may come back when the provider or the store was away.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 2;

/// Why there is nothing now, and after how long there may be.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct RetryLater {
    reason: Arc<str>,
    after: Duration,
}

impl RetryLater {
    pub(crate) fn new(reason: impl Into<Arc<str>>, after: Duration) -> Self {
        Self { reason: reason.into(), after }
    }

    /// After how long it may be tried again, at most `limit`, which counts where nothing is known.
    pub(crate) fn within(&self, limit: Duration) -> Duration {
        if self.after.is_zero() { limit } else { self.after.min(limit) }
    }

    fn seconds(&self) -> u64 {
        self.after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }
}

entries! {
    entry: (StatusCode, &'static str) =>
    /// The party that must act before the request can succeed, and the status of the response.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum ErrorKind {
        /// The user must sign in. A navigation is redirected to the login (303), every other request gets 401.
        Unauthenticated = (StatusCode::UNAUTHORIZED, "unauthenticated"),
        /// The user must authenticate (again) in a way that this route demands ([`RequireLayer::acr`](crate::RequireLayer::acr)). A
        /// navigation is redirected to the login (303), every other request gets 401 (RFC 9470).
        InsufficientAuthentication = (StatusCode::UNAUTHORIZED, "insufficient_user_authentication"),
        /// The request shows its access token in two ways, or in a form that is none. 400.
        InvalidRequest = (StatusCode::BAD_REQUEST, "invalid_request"),
        /// The access token of the request is not accepted. 401.
        InvalidToken = (StatusCode::UNAUTHORIZED, "invalid_token"),
        /// The signed-in user does not have the permission. 403.
        Forbidden = (StatusCode::FORBIDDEN, "forbidden"),
        /// Another site may have forged the request, or its origin is not trusted
        /// ([`docs::cross_site`](crate::docs::cross_site)). 403.
        CrossSite = (StatusCode::FORBIDDEN, "cross_site"),
        /// The user must grant access (again). A navigation is redirected to the provider (303), every other request gets
        /// 403.
        ConsentRequired = (StatusCode::FORBIDDEN, "consent_required"),
        /// The link has a destination outside this application, or a parameter that no provider allows. 400.
        InvalidDestination = (StatusCode::BAD_REQUEST, "invalid_destination"),
        /// The developer must register a resource for this URL; no request was sent. 500.
        NoTokenForUrl = (StatusCode::INTERNAL_SERVER_ERROR, "no_token_for_url"),
        /// The developer must register a connection, resource or scope of this name. 500.
        NoSuchConnection = (StatusCode::INTERNAL_SERVER_ERROR, "no_such_connection"),
        /// The mode of the layer cannot do this, as the message says why: the developer must not ask for it. 500.
        NotInThisMode = (StatusCode::INTERNAL_SERVER_ERROR, "not_in_this_mode"),
        /// The developer must put the layer around this handler. 500.
        MissingLayer = (StatusCode::INTERNAL_SERVER_ERROR, "missing_layer"),
        /// The operator must give the shared account its access (again), or the provider refuses this application and not
        /// the user: client id, secret or scopes are wrong. 503; visitors are not redirected.
        OperatorActionRequired = (StatusCode::SERVICE_UNAVAILABLE, "operator_action_required"),
        /// The provider or the store is unavailable; the request may succeed later. 503 with `Retry-After`.
        Unavailable = (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        /// The user must grant a single-use token again: it was used, or not used in time. 410.
        SingleUseTokenGone = (StatusCode::GONE, "single_use_token_gone"),
        /// The API that was called did not answer, or not with valid HTTP. 502.
        UpstreamError = (StatusCode::BAD_GATEWAY, "upstream_error"),
    }
}

impl ErrorKind {
    /// A stable code, as in the member `code` of problem documents.
    pub const fn code(self) -> &'static str {
        self.entry().1
    }
}

/// The error of extractors, of [`UserTokens`](crate::UserTokens) and of [`AuthSession`](crate::AuthSession).
///
/// It is a response, so that `?` in a handler does what the user needs: the browser of a user who must sign in or
/// grant access is redirected there and returns to the same page; a script gets 401 or 403 `application/problem+json`
/// (RFC 9457) with the URL; and an unavailable provider is 503 with `Retry-After`. Where a person's browser cannot be sent on,
/// the layer makes a page of it that says what to do.
///
/// An application with its own error type keeps this behaviour with a `From<tower_oidc::Error>` and a call of
/// [`Error::into_response`]. No error contains a secret.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorDetails>);

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct ErrorDetails {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<BoxError>,
    next_step: Option<NextStep>,
    /// The challenge for a client (RFC 6750 section 3).
    challenge: Option<String>,
    /// The application's own answer.
    answer: Option<Response<Bytes>>,
}

/// The media type of problem documents (RFC 9457).
pub(crate) const PROBLEM: &str = "application/problem+json";

/// Where a person goes to make the request succeed.
#[derive(Clone, Debug)]
pub(crate) struct NextStep {
    /// A path of this application.
    pub(crate) url: String,
    /// Whether the request was a navigation, which can be sent there.
    pub(crate) redirect: bool,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self(Box::new(ErrorDetails { kind, message, source: None, next_step: None, challenge: None, answer: None }))
    }

    pub(crate) fn with_challenge(mut self, challenge: String) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn with_next_step(mut self, next_step: NextStep) -> Self {
        self.0.next_step = Some(next_step);
        self
    }

    pub(crate) fn with_answer(mut self, answer: Response<Bytes>) -> Self {
        self.0.answer = Some(answer);
        self
    }

    pub(crate) fn forbidden(message: &'static str) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    pub(crate) fn no_token_for_url() -> Self {
        Self::new(ErrorKind::NoTokenForUrl, "no registered resource covers this URL: no token goes there")
    }

    pub(crate) fn no_such_connection(message: &'static str) -> Self {
        Self::new(ErrorKind::NoSuchConnection, message)
    }

    pub(crate) fn layer_missing() -> Self {
        Self::new(
            ErrorKind::MissingLayer,
            "no OidcLayer is around this handler or RequireLayer (or two are, or its path is one of shared_paths): add \
             `.layer(auth)` once, after the last route, fallback and RequireLayer",
        )
    }

    pub(crate) fn unavailable(message: &'static str, source: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Unavailable, message).with_source(source)
    }

    pub(crate) fn upstream(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::UpstreamError, message)
    }

    pub(crate) fn unanswered(source: impl Into<BoxError>) -> Self {
        Self::upstream("the API does not answer").with_source(source)
    }

    /// The party that must act.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The status with which [`Error::into_response`] answers a script.
    pub fn status(&self) -> StatusCode {
        self.0.kind.entry().0
    }

    /// The path at which the user signs in or grants access, for the kinds that have one.
    pub fn url(&self) -> Option<&str> {
        self.0.next_step.as_ref().map(|next_step| next_step.url.as_str())
    }

    /// Turns the error into a response: a redirect for a user who must sign in or grant access, otherwise a problem document
    /// (RFC 9457). The message of a 500, which is a mistake in the application, is logged.
    ///
    /// Where the request is a navigation, the layer makes a page of this document, which says what to do. An application can
    /// make its own in a layer inside of this one: the error is among the response's extensions, as an `Arc<Error>`, and a
    /// response with another `Content-Type` stays as it is.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use axum::response::{Html, IntoResponse, Response};
    /// use tower_oidc::{Error, ErrorKind};
    ///
    /// // `.layer(axum::middleware::map_response(own_page)).layer(auth)`
    /// async fn own_page(response: Response) -> Response {
    ///     match response.extensions().get::<Arc<Error>>() {
    ///         Some(error) if error.kind() == ErrorKind::Forbidden => {
    ///             (error.status(), Html("<h1>Not for you</h1>")).into_response()
    ///         }
    ///         _ => response,
    ///     }
    /// }
    /// ```
    pub fn into_response<B: From<Bytes>>(mut self) -> Response<B> {
        if let Some(answer) = self.0.answer.take() {
            return answer.map(B::from);
        }
        let is_redirect = self.0.next_step.as_ref().is_some_and(|next_step| next_step.redirect);
        let mut response = if is_redirect { redirect(self.url().unwrap_or_default()) } else { self.problem() };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        headers.insert(VARY, HeaderValue::from_static("Cookie"));
        if self.0.kind == ErrorKind::Unavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after()));
        }
        if let Some(Ok(challenge)) = self.0.challenge.as_deref().map(HeaderValue::try_from) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if !is_redirect {
            response.extensions_mut().insert(Arc::new(self));
        }
        response.map(B::from)
    }

    /// Seconds for `Retry-After`: as the provider said, or the default.
    fn retry_after(&self) -> u64 {
        let later = self.0.source.as_ref().and_then(|source| source.downcast_ref::<RetryLater>());
        later.map_or(0, RetryLater::seconds).max(RETRY_AFTER_SECONDS.into())
    }

    fn problem(&self) -> Response<Bytes> {
        let mut problem = serde_json::json!({
            "type": "about:blank",
            "title": self.status().canonical_reason(),
            "status": self.status().as_u16(),
            "code": self.0.kind.code(),
        });
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(target: "tower_oidc", code = self.0.kind.code(), "{self}");
        }
        // What concerns the developer or the operator is for the log, not for whoever asked.
        if !self.status().is_server_error() {
            problem["detail"] = self.0.message.as_ref().into();
        }
        if let Some(next_step) = &self.0.next_step {
            let is_login = self.status() == StatusCode::UNAUTHORIZED;
            let member = if is_login { "login_url" } else { "connect_url" };
            problem[member] = next_step.url.as_str().into();
        }
        response(self.status(), problem.to_string(), &[(CONTENT_TYPE, PROBLEM)])
    }
}

/// 303: whatever the method was, the browser follows with GET (RFC 9110 section 15.4.4). Every `Location` is made here: a
/// path that browsers would take for another host is none.
pub(crate) fn redirect(url: &str) -> Response<Bytes> {
    let names_host = url.starts_with("//") || url.starts_with("/\\");
    let Some(location) = HeaderValue::try_from(url).ok().filter(|_| !names_host) else {
        // Every URL that comes here was checked or encoded before.
        return response(StatusCode::BAD_REQUEST, Bytes::new(), &[]);
    };
    let mut answer = response(StatusCode::SEE_OTHER, Bytes::new(), &[]);
    answer.headers_mut().insert(LOCATION, location);
    answer
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::unavailable("the store is not available", error)
    }
}

impl From<DestinationError> for Error {
    fn from(error: DestinationError) -> Self {
        Self::new(ErrorKind::InvalidDestination, error.to_string())
    }
}

/// The reason why a destination after login or logout, or a parameter of a login, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The destination is longer than 2,048 bytes.
    #[error("the destination has {length} bytes; 2048 are allowed")]
    TooLong {
        /// The length in bytes.
        length: usize,
    },
    /// The destination is not a path of this application's public origin.
    #[error("the destination is not a path of this application")]
    NotAllowed,
    /// No provider at which the login may be has the parameter of this name in its
    /// [`login_parameters`](crate::ProviderConfig::login_parameters).
    #[error("the login has the parameter {0}: add it to the provider's login_parameters, or leave it out")]
    ParameterNotAllowed(String),
    /// The names and values of [`LoginOptions::parameters`](crate::LoginOptions::parameters) have so many bytes, more than 512.
    #[error("the parameters of the login have {0} bytes; 512 are allowed")]
    ParametersTooLong(usize),
}

/// All problems of a configuration, each with its remedy.
///
/// `Debug` is like `Display`, a line for each problem, because a `main` that returns the error prints it with `Debug`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  - {}", problems.join("\n  - "))]
pub struct ConfigError {
    pub(crate) problems: Vec<String>,
}

impl ConfigError {
    pub(crate) fn check(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// One sentence per problem.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_location_is_read_as_another_host() {
        let location = |url: &str| redirect(url).headers().get(LOCATION).is_some();
        for given in ["//evil.test", "/\\evil.test", "//", "/a\nb"] {
            assert!(!location(given), "{given:?}");
        }
        for given in ["/", "/a//b", "https://op.test/authorize?x", "/?to=//evil.test"] {
            assert!(location(given), "{given:?}");
        }
    }
}
