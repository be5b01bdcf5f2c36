//! Connections, and resources: what is granted, and the APIs to which its tokens may be sent.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use crate::protocol::setters::setters;

/// An additional grant requested on demand: scopes, and the APIs its tokens may be sent to.
///
/// It belongs to a provider ([`ProviderConfig::connection`](crate::ProviderConfig::connection)). At the provider of
/// the login the user must grant it with the account of the login; at another provider they can use any account of
/// theirs.
///
/// ```
/// # use tower_oidc::{Connection, ProviderConfig, Resource};
/// let calendar = Connection::new("calendar")
///     .scope("offline_access")
///     .resource(Resource::new("calendar", "https://api.example.org/calendar").scope("calendar.read"));
/// let provider = ProviderConfig::new("https://op.example.org", "app").connection(calendar);
/// ```
///
/// Each connection has a grant of its own: connecting or disconnecting it does not change the login or other
/// connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SmartDefault)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Connection {
    /// The name of the connection in the application. `login` is reserved for the login.
    pub name: String,
    /// Scopes to request in addition to `openid` and those of the resources, such as `offline_access`.
    pub scopes: Vec<String>,
    /// The APIs to which its tokens may be sent.
    pub resources: Vec<Resource>,
    /// The lifetime of its grant. By default until it is disconnected.
    #[default(GrantLifetime::Persistent)]
    pub grant_lifetime: GrantLifetime,
    /// Whether its tokens are for one use and not kept: see [`Connection::single_use`].
    pub single_use: bool,
    /// Whether a visitor may grant it without a login: see [`Connection::allow_visitors`].
    pub visitors: bool,
}

impl Connection {
    /// A connection with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    setters! {
        /// Adds a scope to request.
        push scope to scopes: String;
        /// Adds an API to which its tokens may be sent.
        add resource to resources: Resource;
        /// Sets the lifetime of its grant.
        value grant_lifetime: GrantLifetime;
        /// Makes its tokens single-use: one request gets them as a [`SingleUseToken`](crate::SingleUseToken), and they are
        /// not kept. [`UserTokens`](crate::UserTokens) never has a token for its resources.
        set single_use: true;
        /// Allows visitors to grant it without a login, for access to their own data. The grant belongs to that browser
        /// only. [`UserTokens`](crate::UserTokens) of a request without a signed-in user are those of its browser.
        ///
        /// The provider is asked for the scopes of the connection and no others: without `openid` there is no ID token,
        /// and the account is unknown. If then a second account grants access in the same browser, and the provider sends
        /// no refresh token because that account has granted access before, the refresh token of the first account stays,
        /// and returns the data of the first account after the new access token has expired. Request `openid` at providers
        /// that send a refresh token with the first consent only.
        ///
        /// A login does not transfer the grant; see
        /// [`UserTokens::adopt_visitor_grants`](crate::UserTokens::adopt_visitor_grants). It lives for
        /// [`Config::visitor_lifetime`](crate::Config::visitor_lifetime). Only a cookie identifies the browser: a person
        /// who used the browser before and kept that cookie can use later grants. On shared computers, let users sign in.
        set allow_visitors to visitors: true;
    }
}

/// The lifetime of a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantLifetime {
    /// As long as the session. Each browser has its own grant, and two browsers never spend each other's refresh
    /// tokens.
    #[default]
    Session,
    /// Until it is disconnected. There is one for each user, a new grant replaces it, and it outlives logout.
    Persistent,
}

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
    /// The name of the API at the provider, where that issues a separate token for each API: the resource indicator
    /// (RFC 8707), or the audience. [`ProviderConfig::api_naming`](crate::ProviderConfig::api_naming) says how it is sent.
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
        /// Sets the name of the API at the provider: the resource indicator (RFC 8707 section 2), or the audience.
        some indicator: String;
    }
}

/// Each once, in the order in which they are first named.
pub(crate) fn distinct<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut known = HashSet::new();
    texts.into_iter().filter(|text| known.insert(*text)).cloned().collect()
}
