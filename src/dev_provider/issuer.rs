//! The issuer: the one URL from which every endpoint, the cookies' path and the own origin follow.

use url::Url;

use super::DevProviderError;
use crate::protocol::metadata::is_loopback;

#[derive(Clone)]
pub(super) struct Issuer {
    given: String,
    url: Url,
}

impl Issuer {
    /// OpenID Connect Discovery 1.0 section 3: a URL with no query or fragment. Plain http is for loopback.
    pub(super) fn parse(given: &str) -> Result<Self, DevProviderError> {
        let url = Url::parse(given)?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        match (url.scheme(), url.host()) {
            ("http" | "https", Some(_)) if plain => Ok(Self { given: given.to_owned(), url }),
            _ => Err(DevProviderError::NotAnIssuer),
        }
    }

    pub(super) fn require_loopback(&self) -> Result<(), DevProviderError> {
        let host = || self.url.host_str().unwrap_or_default().to_owned();
        is_loopback(&self.url).then_some(()).ok_or_else(|| DevProviderError::NotLoopback { host: host() })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.given
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
    pub(super) fn cookie_name(&self) -> String {
        format!("tower-oidc-dev-{}", self.url.port_or_known_default().unwrap_or_default())
    }

    /// The attributes every cookie of the provider carries.
    pub(super) fn cookie_attributes(&self) -> String {
        let path = if self.path().is_empty() { "/" } else { self.path() };
        let secure = if self.url.scheme() == "https" { "; Secure" } else { "" };
        format!("Path={path}; HttpOnly; SameSite=Lax{secure}")
    }
}
