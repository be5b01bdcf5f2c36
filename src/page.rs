//! The layer's own pages: small, escaped, self-contained, never cached and never framed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use memchr::memmem;

use crate::error::{Error, ErrorKind, PROBLEM, RETRY_AFTER_SECONDS};
use crate::html::{self, document, escape, response};

const STYLE: &str = include_str!("page.css");

/// The contents of one of the layer's own pages, in English. It stands in the extensions of the response, so that a middleware
/// around the layer can show a page of the application's own instead: [`docs::pages_and_scripts`](crate::docs::pages_and_scripts)
/// has one. The response of an error also has the `Arc<Error>` there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The heading.
    pub heading: String,
    /// The text below the heading. Empty for a question.
    pub text: String,
    /// The links with which people go on, or back: pairs of an address and a label.
    pub links: Vec<(String, String)>,
    /// The button of a question: the address to which it sends a POST request, and its label.
    pub button: Option<(String, String)>,
}

impl Page {
    /// The page as a document. Everything is escaped here.
    fn respond(self, status: StatusCode) -> Response<Bytes> {
        let mut body = if self.text.is_empty() { String::new() } else { format!("<p>{}</p>", escape(&self.text)) };
        if let Some((to, label)) = &self.button {
            body += &format!("<form method=post action=\"{}\"><button>{}</button></form>", escape(to), escape(label));
        }
        for (address, label) in &self.links {
            body += &format!("<p><a class=button href=\"{}\">{}</a></p>", escape(address), escape(label));
        }
        let mut response = document(status, &self.heading, STYLE, &body, None);
        response.extensions_mut().insert(self);
        response
    }
}

/// A page with a heading, a text, and links as (address, label).
pub(crate) fn page(status: StatusCode, heading: &str, text: &str, links: &[(&str, &str)]) -> Response<Bytes> {
    let links = links.iter().map(|&(address, label)| (address.into(), label.into())).collect();
    Page { heading: heading.into(), text: text.into(), links, button: None }.respond(status)
}

/// A page that says one thing.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    page(status, status.canonical_reason().unwrap_or("Answer"), text, &[])
}

pub(crate) fn bad_request(text: &str) -> Response<Bytes> {
    plain(StatusCode::BAD_REQUEST, text)
}

/// Makes a page of an error's problem document, for a person's browser: the page says what to do.
#[cold]
pub(crate) fn show_error<R: From<Bytes>>(answer: &mut Response<R>, home: &str) {
    use ErrorKind as Kind;
    let is_problem = answer.headers().get(CONTENT_TYPE).is_some_and(|media_type| media_type == PROBLEM);
    let Some(error) = answer.extensions().get::<Arc<Error>>().filter(|_| is_problem) else { return };
    let (text, again, home) = (error.to_string(), Some(("", "Try again")), Some((home, "Start page")));
    let text = text.get(..1).unwrap_or_default().to_uppercase() + text.get(1..).unwrap_or(&text).trim_end_matches('.');
    let (text, link) = match error.kind() {
        Kind::Unavailable => ("This page cannot be shown at the moment.".into(), again),
        Kind::UpstreamError => ("A service that this page needs did not answer as it should.".into(), again),
        Kind::OperatorActionRequired => (OPERATOR.into(), None),
        Kind::CrossSite => (CROSS_SITE.into(), home),
        Kind::Forbidden => (format!("{text}. If you should have access, ask the operator of this application."), home),
        _ if error.status().is_server_error() => (FAULT.into(), None),
        _ => (format!("{text}."), error.url().map(|url| (url, "Continue"))),
    };
    let text = format!("{text} ({})", error.kind().code());
    let heading = error.status().canonical_reason().unwrap_or("Error");
    let (page, body) = page(error.status(), heading, &text, link.as_slice()).into_parts();
    // A layer in between may have encoded the document.
    let _ = ["content-encoding", "content-length"].map(|name| answer.headers_mut().remove(name));
    answer.headers_mut().extend(page.headers);
    answer.extensions_mut().extend(page.extensions);
    *answer.body_mut() = body.into();
}

const OPERATOR: &str = "This page needs access that the operator of this application has to give it.";
const CROSS_SITE: &str = "This request came from another site. Nothing was changed. Start from this application.";
const FAULT: &str = "This application has a fault. Its operator finds the cause in its log.";

/// The refusal of a request that another site may have forged: a page for a navigation, and the reason for a script.
#[cold]
pub(crate) fn cross_site(headers: &HeaderMap, reason: String, home: &str) -> Response<Bytes> {
    let mut answer = Error::new(ErrorKind::CrossSite, reason).into_response();
    let accepts = headers.get(ACCEPT).map_or(&[][..], HeaderValue::as_bytes);
    let navigates = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    if navigates && memmem::find(accepts, b"text/html").is_some() {
        show_error(&mut answer, home);
    }
    answer
}

/// The answer to a request that nobody sees: a prefetch, or a picture that is none.
pub(crate) fn nothing() -> Response<Bytes> {
    response(StatusCode::NO_CONTENT, Bytes::new(), &[])
}

/// An answer for this browser alone, and one that the next site is not told the address of.
pub(crate) fn unshared(mut answer: Response<Bytes>) -> Response<Bytes> {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

/// The provider or the store is away: 503, and a link that tries again.
pub(crate) fn try_again(text: &str, address: &str) -> Response<Bytes> {
    let mut response = page(StatusCode::SERVICE_UNAVAILABLE, "Please try again", text, &[(address, "Try again")]);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}

/// A form that submits itself.
pub(crate) fn self_submitting(action: &str, fields: &[(impl AsRef<str>, String)], nonce: &str) -> Response<Bytes> {
    html::self_submitting("One moment…", STYLE, action, fields, nonce)
}

/// Asks before something is done: a button that POSTs to `action`, and a link `back`.
pub(crate) fn confirmation(heading: &str, action: &str, label: &str, back: &str) -> Response<Bytes> {
    let (button, links) = (Some((action.into(), label.into())), vec![(back.into(), "Cancel".into())]);
    Page { heading: heading.into(), button, links, ..Page::default() }.respond(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_given_is_escaped() {
        let evil = r#""><script>alert(1)</script>'&"#;
        for response in [
            page(StatusCode::OK, evil, evil, &[(evil, evil)]),
            self_submitting(evil, &[(evil, evil.to_owned())], "n"),
            confirmation(evil, evil, evil, evil),
        ] {
            let html = String::from_utf8(response.body().to_vec()).unwrap();
            assert!(!html.contains("<script>alert"), "{html}");
        }
    }
}
