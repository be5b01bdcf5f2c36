//! The shapes of answers that are not pages.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::html::response;

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

/// What goes wrong at an endpoint that no browser visits (RFC 6749 section 5.2).
pub(super) struct OAuthError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) description: &'static str,
}

impl OAuthError {
    pub(super) fn new(code: &'static str, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, description }
    }

    pub(super) fn invalid_request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn invalid_client() -> Self {
        let description = "the client is unknown or did not authenticate";
        Self { status: StatusCode::UNAUTHORIZED, code: "invalid_client", description }
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response =
            private_json(&json!({ "error": self.code, "error_description": self.description }));
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            set(&mut response, header::WWW_AUTHENTICATE, "Basic realm=\"development provider\"");
        }
        response
    }
}
