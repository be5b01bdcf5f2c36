//! The issuer: the one URL from which every endpoint, the cookies and the own origin follow.

use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::Value;
use url::Url;

use super::{DevProviderError, response};

#[derive(Clone)]
pub(super) struct Issuer {
    pub(super) given: String,
    pub(super) url: Url,
}

impl Issuer {
    /// OpenID Connect Discovery 1.0 section 3: a URL with no query or fragment. Plain http is for loopback.
    pub(super) fn parse(given: &str) -> Result<Self, DevProviderError> {
        let url = Url::parse(given)?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        let plain = !has_user && url.query().is_none() && url.fragment().is_none();
        match (url.scheme(), url.host()) {
            ("http" | "https", Some(_)) if plain => Ok(Self { given: given.to_owned(), url }),
            _ => Err(DevProviderError::NotAnIssuer),
        }
    }

    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    fn path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    /// The absolute URL of an endpoint.
    pub(super) fn url(&self, endpoint: &str) -> String {
        format!("{}{}{endpoint}", self.origin(), self.path())
    }

    /// What of a request's path lies below the issuer's.
    pub(super) fn endpoint<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.path())
    }

    /// Cookies ignore ports (RFC 6265 section 8.5): two providers on one machine need two names.
    fn cookie_name(&self, kind: &str) -> String {
        format!("tower-oidc-dev-{}{kind}", self.url.port_or_known_default().unwrap_or_default())
    }

    pub(super) fn cookie<'r>(&self, request: &'r Request<Bytes>, kind: &str) -> Option<&'r str> {
        std::str::from_utf8(crate::cookie::find(request.headers(), &self.cookie_name(kind))?).ok()
    }

    /// `lifetime` is an attribute; empty for a cookie that ends with the browser.
    pub(super) fn set_cookie(&self, response: &mut Response<Bytes>, kind: &str, value: &str, lifetime: &str) {
        let (name, path) = (self.cookie_name(kind), if self.path().is_empty() { "/" } else { self.path() });
        let secure = if self.url.scheme() == "https" { "; Secure" } else { "" };
        let cookie = format!("{name}={value}{lifetime}; Path={path}; HttpOnly; SameSite=Lax{secure}");
        response::set(response, header::SET_COOKIE, &cookie);
    }

    /// The provider's metadata: OpenID Connect Discovery 1.0 section 3, RFC 8414, RFC 9207 section 3. The file has a path
    /// where the document has a URL.
    pub(super) fn metadata(&self) -> Value {
        let mut metadata: Value = serde_json::from_str(include_str!("metadata.json")).unwrap_or_default();
        for member in metadata.as_object_mut().into_iter().flat_map(|metadata| metadata.values_mut()) {
            if let Some(endpoint) = member.as_str() {
                *member = self.url(endpoint).into();
            }
        }
        metadata["issuer"] = self.given.as_str().into();
        metadata
    }
}
