//! The shapes of answers that are not pages, and of refusals.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::page;
use crate::html::response;

/// The answer of a handler, or the refusal of its request.
pub(super) type Answer = Result<Response<Bytes>, Refusal>;

pub(super) fn empty(status: StatusCode) -> Response<Bytes> {
    response(status, Bytes::new(), &[])
}

pub(super) fn not_allowed(allow: &'static str) -> Response<Bytes> {
    response(StatusCode::METHOD_NOT_ALLOWED, Bytes::new(), &[(header::ALLOW, allow)])
}

pub(super) fn json(value: &Value) -> Response<Bytes> {
    response(StatusCode::OK, value.to_string(), &[(header::CONTENT_TYPE, "application/json")])
}

/// JSON that is somebody's secret: RFC 6749 section 5.1 wants it in no cache.
pub(super) fn private_json(value: &Value) -> Response<Bytes> {
    let mut response = json(value);
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// 303, so that no browser repeats the form it came from (RFC 9700 section 4.12).
pub(super) fn see_other(location: &str) -> Response<Bytes> {
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")];
    let mut response = response(StatusCode::SEE_OTHER, Bytes::new(), &headers);
    set(&mut response, header::LOCATION, location);
    response
}

pub(super) fn set(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    // Every value here is a literal, a serialised URL, base64url or form-encoded: always a header value.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

/// Why a request goes no further, for whoever is told.
pub(super) enum Refusal {
    /// The person reads it on a page: its heading and its text.
    Page(StatusCode, &'static str, &'static str),
    /// The client reads it, at an endpoint that no browser visits: `error` and `error_description` (RFC 6749 section 5.2).
    OAuth(StatusCode, &'static str, &'static str),
}

impl Refusal {
    pub(super) const INVALID_CLIENT: Self =
        Self::OAuth(StatusCode::UNAUTHORIZED, "invalid_client", "the client is unknown or did not authenticate");

    pub(super) const fn page(text: &'static str) -> Self {
        Self::Page(StatusCode::BAD_REQUEST, "Not possible", text)
    }

    pub(super) const fn oauth(code: &'static str, description: &'static str) -> Self {
        Self::OAuth(StatusCode::BAD_REQUEST, code, description)
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let (status, code, description) = match self {
            Self::Page(status, title, text) => return page::message(status, title, text),
            Self::OAuth(status, code, description) => (status, code, description),
        };
        let mut response = private_json(&json!({ "error": code, "error_description": description }));
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            set(&mut response, header::WWW_AUTHENTICATE, "Basic realm=\"development provider\"");
        }
        response
    }
}
