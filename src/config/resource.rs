//! Resources: the APIs that a token may go to, and to no other.

use serde::{Deserialize, Serialize};

/// An API: the URLs that its tokens may be sent to, and what is asked for to call it.
///
/// A URL belongs to a resource when scheme, host and port are equal and its path is the prefix's or below it,
/// on a segment boundary: `https://api.test/cal` covers `/cal` and `/cal/x`, never `/calendar`. The longest
/// prefix wins. Both are read by the WHATWG parser, which resolves `..`; URLs with a user part, a backslash,
/// `%2f` or `%5c` belong to no resource.
///
/// ```
/// use tower_oidc::{Config, ProviderConfig, Resource};
///
/// let calendar = Resource::new("calendar", "https://api.example/calendar/")
///     .scope("calendar.read")
///     .optional_scope("calendar.write");
/// let config = Config::new("https://app.example", ProviderConfig::new("https://login.example", "app"))
///     .resource(calendar);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Resource {
    /// What the application calls it.
    pub name: String,
    /// https URLs (http on loopback), without query and fragment.
    pub url_prefixes: Vec<String>,
    /// The scopes to ask for at the provider.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes that are asked for later, when something needs them.
    #[serde(default)]
    pub optional_scopes: Vec<String>,
    /// The resource indicator (RFC 8707), for providers that issue a token of its own for each API.
    #[serde(default)]
    pub indicator: Option<String>,
}

impl Resource {
    /// An API at a URL and everything below it.
    pub fn new(name: impl Into<String>, url_prefix: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url_prefixes: vec![url_prefix.into()],
            scopes: Vec::new(),
            optional_scopes: Vec::new(),
            indicator: None,
        }
    }

    /// Another place where the same tokens may go.
    #[must_use]
    pub fn url_prefix(mut self, url_prefix: impl Into<String>) -> Self {
        self.url_prefixes.push(url_prefix.into());
        self
    }

    /// One more scope to ask for.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// One more scope that may be asked for when something needs it, and is not asked for before.
    #[must_use]
    pub fn optional_scope(mut self, scope: impl Into<String>) -> Self {
        self.optional_scopes.push(scope.into());
        self
    }

    /// The resource indicator (RFC 8707 section 2).
    #[must_use]
    pub fn indicator(mut self, indicator: impl Into<String>) -> Self {
        self.indicator = Some(indicator.into());
        self
    }
}

/// Adds what is not there yet.
pub(crate) fn push_new(scopes: &mut Vec<String>, scope: &str) {
    if !scopes.iter().any(|known| known == scope) {
        scopes.push(scope.to_owned());
    }
}
