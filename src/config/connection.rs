//! Connections: what a person grants besides signing in, each under a name of its own.

use serde::{Deserialize, Serialize};

use super::resource::Resource;

/// More that a person may grant, when it is needed and not before: scopes, and the APIs that their tokens may go to.
///
/// It belongs to a provider ([`ProviderConfig::connection`](crate::ProviderConfig::connection)). At the provider of the
/// login the account must be the one that the person is signed in with; at another one they link whichever account is
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
/// Its grant is its own: connecting or disconnecting one leaves the login's and every other as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Connection {
    /// What the application calls it. `login` is the login's own.
    pub name: String,
    /// Scopes to ask for besides `openid` and those of the resources, such as `offline_access`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The APIs that its tokens may go to.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// How long its grant lives: until it is disconnected, unless it says otherwise.
    #[serde(default = "persistent")]
    pub grant_lifetime: GrantLifetime,
    /// Its tokens are for one use, and kept nowhere: see [`Connection::single_use`].
    #[serde(default)]
    pub single_use: bool,
    /// Whoever uses a browser may grant it without signing in: see [`Connection::allow_visitors`].
    #[serde(default)]
    pub visitors: bool,
}

fn persistent() -> GrantLifetime {
    GrantLifetime::Persistent
}

impl Connection {
    /// A connection of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: Vec::new(),
            resources: Vec::new(),
            grant_lifetime: persistent(),
            single_use: false,
            visitors: false,
        }
    }

    /// One more scope to ask for.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// One more API that its tokens may go to.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// What is granted is handed to one request as a [`SingleUseToken`](crate::SingleUseToken), and kept nowhere:
    /// [`UserTokens`](crate::UserTokens) never has a token for its resources.
    #[must_use]
    pub fn single_use(mut self) -> Self {
        self.single_use = true;
        self
    }

    /// Whoever uses a browser may grant it without signing in, access to their own data: the grant is that browser's,
    /// and no other's. [`UserTokens`](crate::UserTokens) of requests in which nobody is signed in are those of their
    /// browser.
    ///
    /// A visitor is asked for the scopes that stand here and for no others: without `openid` there is no ID token, and
    /// nobody is known. Accounts cannot be told apart then: where a second account grants access in the same browser, and
    /// the provider sends no refresh token because that account has granted access before, the refresh token of the first
    /// account stays, and brings the data of the first account once the new access token has ended. Ask for `openid` at
    /// providers that send a refresh token with the first consent only. Signing in does not hand the grant over; see
    /// [`UserTokens::adopt_visitor_grants`](crate::UserTokens::adopt_visitor_grants). It lives for
    /// [`Config::visitor_lifetime`](crate::Config::visitor_lifetime). The browser is known by a cookie alone: whoever used it
    /// before and kept that cookie can use what is granted there later. On shared computers let people sign in.
    #[must_use]
    pub fn allow_visitors(mut self) -> Self {
        self.visitors = true;
        self
    }

    /// How long its grant lives.
    #[must_use]
    pub fn grant_lifetime(mut self, grant_lifetime: GrantLifetime) -> Self {
        self.grant_lifetime = grant_lifetime;
        self
    }
}

/// How long a grant lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantLifetime {
    /// As long as the session: each browser has its own, and two of them never spend each other's refresh
    /// tokens.
    #[default]
    Session,
    /// Until it is disconnected: one for each person, the newest wins, and it outlives logout.
    Persistent,
}
