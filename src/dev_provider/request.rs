//! What a request says: its parameters, its cookies, where it came from.

use bytes::Bytes;
use http::{HeaderName, Request, header};

use super::response::Refusal;
use crate::html::is_form;

/// Parameters in the `application/x-www-form-urlencoded` format, from a query or a form.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn of_query(request: &Request<Bytes>) -> Self {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    pub(super) fn of_form(request: &Request<Bytes>) -> Option<Self> {
        is_form(request.headers()).then(|| Self::parse(request.body()))
    }

    fn parse(encoded: &[u8]) -> Self {
        // RFC 6749 section 3.1: a parameter without a value counts as omitted.
        Self(form_urlencoded::parse(encoded).into_owned().filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or(Refusal::oauth("invalid_request", "a required parameter is missing"))
    }

    fn all<'p>(&'p self, name: &str) -> impl Iterator<Item = &'p str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// RFC 8707 section 2: any number of them.
    pub(super) fn resources(&self) -> Vec<String> {
        self.all("resource").map(str::to_owned).collect()
    }

    /// RFC 6749 section 3.1: no parameter comes twice, but for `resource` (RFC 8707 section 2).
    pub(super) fn has_repeated(&self) -> bool {
        self.0.iter().any(|(name, _)| name != "resource" && self.is_repeated(name))
    }

    pub(super) fn is_repeated(&self, name: &str) -> bool {
        self.all(name).nth(1).is_some()
    }

    pub(super) fn to_query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

pub(super) fn header_of<'r>(request: &'r Request<Bytes>, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

/// Decodes a value of the format `application/x-www-form-urlencoded`.
pub(super) fn decoded(text: &str) -> String {
    // Left alone, `&` would end the value and `=` would begin one; neither is form-encoded text.
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

/// Whether another site's page sent this form.
///
/// An `Origin` of `null` decides nothing: our own pages send it, because their `Referrer-Policy` is
/// `no-referrer` (Fetch, "append a request `Origin` header"). The token in the form and the cookie it is
/// bound to stand behind this.
pub(super) fn is_cross_site(request: &Request<Bytes>, own_origin: &str) -> bool {
    let site = HeaderName::from_static("sec-fetch-site");
    match (header_of(request, &site), header_of(request, &header::ORIGIN)) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin != "null" && origin != own_origin,
        (None, None) => false,
    }
}
