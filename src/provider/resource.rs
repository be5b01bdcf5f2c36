//! Resources: the APIs to which tokens may be sent.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::protocol::setters::setters;

/// An API: the URLs to which its tokens may be sent, and the scopes for calling it.
///
/// A URL belongs to a resource if scheme, host and port are equal and its path is the prefix's path or below it, on a
/// segment boundary: `https://api.test/cal` covers `/cal` and `/cal/x`, never `/calendar`. The longest prefix wins.
/// Both are parsed by the WHATWG URL standard, which resolves `..`. A URL that a server may read otherwise belongs to no
/// resource: with a user part, a backslash, `%2f`, `%5c`, `..;`, an encoded control character, or what is encoded twice.
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
    /// The name of the API in the application.
    pub name: String,
    /// https URLs (http on loopback), without query and fragment.
    pub url_prefixes: Vec<String>,
    /// The scopes to request at the provider.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes to request later, when a handler requires them
    /// ([`UserTokens::require_scopes`](crate::UserTokens::require_scopes)).
    #[serde(default)]
    pub optional_scopes: Vec<String>,
    /// The resource indicator (RFC 8707), for providers that issue a separate token for each API.
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

    setters! {
        /// Adds another URL to which the same tokens may be sent.
        push url_prefix to url_prefixes: String;
        /// Adds a scope to request.
        push scope to scopes: String;
        /// Adds a scope to request later, when a handler requires it.
        push optional_scope to optional_scopes: String;
        /// Sets the resource indicator (RFC 8707 section 2).
        some indicator: String;
    }
}

/// Each once, in the order in which they are first named.
pub(crate) fn distinct<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut known = HashSet::new();
    texts.into_iter().filter(|text| known.insert(*text)).cloned().collect()
}
