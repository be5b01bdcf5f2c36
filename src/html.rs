//! Pages, text in them, and forms.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// A response with these headers.
pub(crate) fn response(
    status: StatusCode, body: impl Into<Bytes>, headers: &[(HeaderName, &'static str)],
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page that is complete in itself, and is never cached and never framed. A script in it runs where it has this nonce.
///
/// There is no `form-action`: browsers apply it to the redirects that follow a form as well, and those may lead to
/// another site.
pub(crate) fn document(
    status: StatusCode, heading: &str, style: &str, body: &str, script_nonce: Option<&str>,
) -> Response<Bytes> {
    let heading = escape(heading);
    let html = format!(include_str!("html/document.html"), heading = heading, style = style, body = body);
    let scripts = script_nonce.map_or_else(|| "'none'".to_owned(), |nonce| format!("'nonce-{nonce}'"));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; base-uri 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // Our addresses carry states, codes and destinations. `same-origin` keeps them here, and lets a form's own
        // POST name its origin, which `no-referrer` would turn into `null`.
        (REFERRER_POLICY, "same-origin"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    let mut response = response(status, html, &headers);
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// A form that submits itself, and has a button for browsers without scripts. `nonce` allows its script and no other.
pub(crate) fn self_submitting(
    heading: &str, style: &str, action: &str, fields: &[(impl AsRef<str>, impl AsRef<str>)], nonce: &str,
) -> Response<Bytes> {
    let fields = fields.iter().map(|(name, value)| {
        format!("<input type=hidden name=\"{}\" value=\"{}\">", escape(name.as_ref()), escape(value.as_ref()))
    });
    let (action, fields) = (escape(action), fields.collect::<String>());
    let body = format!(include_str!("html/self_submitting.html"), action = action, fields = fields, nonce = nonce);
    document(StatusCode::OK, heading, style, &body, Some(nonce))
}

/// For text and for attributes in double quotes.
pub(crate) fn escape(text: &str) -> String {
    let escaped = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
    escaped.into_iter().fold(text.to_owned(), |text, (character, entity)| text.replace(character, entity))
}

/// Whether a body has the format `application/x-www-form-urlencoded`.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let form = b"application/x-www-form-urlencoded";
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..form.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(form))
}

/// A name or a value for a query, or for a form (`application/x-www-form-urlencoded`).
pub(crate) fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}
