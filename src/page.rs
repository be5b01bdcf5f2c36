//! The layer's own pages: small, escaped, self-contained, never cached and never framed.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};

use crate::error::RETRY_AFTER_SECONDS;
use crate::html::escape;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1.5rem;\
    color:#1c1c1e;background:#fff}h1{font-size:1.4rem}a,button{font:inherit;color:#0a58ca}button,.button{display:\
    inline-block;border:0;border-radius:.5rem;padding:.6rem 1.2rem;background:#0a58ca;color:#fff;text-decoration:\
    none;cursor:pointer}small{color:#6e6e73}@media(prefers-color-scheme:dark){body{color:#f2f2f7;background:#1c1c1e}\
    a{color:#6ea8fe}}";

/// A page with a heading, a text, and links as (address, label). Everything is escaped here.
pub(crate) fn page(status: StatusCode, heading: &str, text: &str, links: &[(&str, &str)]) -> Response<Bytes> {
    let links: String = links
        .iter()
        .map(|(address, label)| {
            format!("<p><a class=button href=\"{}\">{}</a></p>", escape(address), escape(label))
        })
        .collect();
    document(status, heading, &format!("<p>{}</p>{links}", escape(text)), None)
}

/// A page that says one thing.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    page(status, status.canonical_reason().unwrap_or("Answer"), text, &[])
}

/// The provider or the store is away: 503, and a link that tries again.
pub(crate) fn try_again(text: &str, address: &str) -> Response<Bytes> {
    let mut response =
        page(StatusCode::SERVICE_UNAVAILABLE, "Please try again", text, &[(address, "Try again")]);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}

/// A form that submits itself, and has a button for browsers without scripts.
///
/// `nonce` allows this page's script and no other. There is no `form-action`: browsers apply it to the redirects
/// that follow as well, and where a provider redirects to is its own affair.
pub(crate) fn self_submitting(action: &str, fields: &[(&str, String)], nonce: &str) -> Response<Bytes> {
    let fields: String = fields
        .iter()
        .map(|(name, value)| {
            format!("<input type=hidden name=\"{}\" value=\"{}\">", escape(name), escape(value))
        })
        .collect();
    let body = format!(
        "<form method=post action=\"{}\">{fields}<button>Continue</button></form>\
         <script nonce=\"{nonce}\">document.forms[0].submit()</script>",
        escape(action)
    );
    document(StatusCode::OK, "One moment…", &body, Some(nonce))
}

/// Asks before something is done: a button that POSTs to `action`.
pub(crate) fn confirmation(heading: &str, action: &str, label: &str) -> Response<Bytes> {
    let body =
        format!("<form method=post action=\"{}\"><button>{}</button></form>", escape(action), escape(label));
    document(StatusCode::OK, heading, &body, None)
}

fn document(status: StatusCode, heading: &str, body: &str, script_nonce: Option<&str>) -> Response<Bytes> {
    let heading = escape(heading);
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{heading}</title><style>{STYLE}</style><h1>{heading}</h1>{body}</html>"
    );
    let scripts = script_nonce.map_or_else(|| "'none'".to_owned(), |nonce| format!("'nonce-{nonce}'"));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = Response::new(Bytes::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Our addresses carry states, codes and destinations. `same-origin` keeps them here, and lets a form's own
    // POST name its origin, which `no-referrer` would turn into `null`.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks 23 and 140.
    #[test]
    fn everything_given_is_escaped() {
        let evil = r#""><script>alert(1)</script>'&"#;
        for response in [
            page(StatusCode::OK, evil, evil, &[(evil, evil)]),
            self_submitting(evil, &[(evil, evil.to_owned())], "n"),
            confirmation(evil, evil, evil),
        ] {
            let html = String::from_utf8(response.body().to_vec()).unwrap();
            assert!(!html.contains("<script>alert"), "{html}");
        }
    }
}
