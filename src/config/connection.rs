//! Connections: what a person grants besides signing in, each under a name of its own.

use serde::{Deserialize, Serialize};

use super::Config;
use super::provider::ProviderConfig;
use super::resource::{Resource, Resources};
use crate::provider::relying_party::ProviderId;
use crate::records::grant::LOGIN;

/// More that a person may grant, when it is needed and not before: scopes, and the APIs that their tokens may go to.
///
/// It is granted at the login's provider, where the account must be the one that the person is signed in with; or at
/// another one of [`Config::providers`](crate::Config::providers), where they link whichever account is theirs.
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
    /// The name of the provider at which it is granted: the first, unless it says otherwise.
    #[serde(default)]
    pub provider: Option<String>,
    /// How long its grant lives: until it is disconnected, unless it says otherwise.
    #[serde(default = "user")]
    pub retention: Retention,
    /// Its tokens are for one use, and kept nowhere: see [`Connection::one_shot`].
    #[serde(default)]
    pub one_shot: bool,
    /// Whoever uses a browser may grant it without signing in: see [`Connection::for_visitors`].
    #[serde(default)]
    pub visitors: bool,
}

fn user() -> Retention {
    Retention::User
}

impl Connection {
    /// A connection of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: Vec::new(),
            resources: Vec::new(),
            provider: None,
            retention: user(),
            one_shot: false,
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

    /// What is granted is handed to one request as a [`OneShotToken`](crate::OneShotToken), and kept nowhere:
    /// [`UserTokens`](crate::UserTokens) never has a token for its resources.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.one_shot = true;
        self
    }

    /// Whoever uses a browser may grant it without signing in, access to their own data: the grant is that browser's,
    /// and no other's. [`UserTokens`](crate::UserTokens) of requests in which nobody is signed in are those of their
    /// browser.
    ///
    /// A visitor is asked for the scopes that stand here and for no others: without `openid` there is no ID token, and
    /// nobody is known. Signing in does not hand the grant over; see
    /// [`UserTokens::claim_visitor_grants`](crate::UserTokens::claim_visitor_grants). It lives for
    /// [`Config::visitor_lifetime`](crate::Config::visitor_lifetime). The browser is known by a cookie alone: whoever used it
    /// before and kept that cookie can use what is granted there later. On shared computers let people sign in.
    #[must_use]
    pub fn for_visitors(mut self) -> Self {
        self.visitors = true;
        self
    }

    /// The name of the provider at which it is granted.
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// How long its grant lives.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

/// How long a grant lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// As long as the session: each browser has its own, and two of them never spend each other's refresh
    /// tokens.
    #[default]
    Session,
    /// Until it is disconnected: one for each person, the newest wins, and it outlives logout.
    User,
}

/// What people may grant who signed in at one provider, checked: the login itself first.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    all: Vec<Registered>,
    /// What people are asked for who sign in.
    sign_in: Option<Registered>,
    resources: Resources,
}

/// One connection as it is used.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) name: String,
    /// Where it is granted, and where its tokens are refreshed.
    pub(crate) provider: ProviderId,
    /// Everything that is asked for.
    pub(crate) scopes: Vec<String>,
    /// What it asks for by itself, and what its resources ask for.
    own_scopes: Vec<String>,
    api_scopes: Vec<String>,
    /// What may be asked for later.
    pub(crate) optional_scopes: Vec<String>,
    pub(crate) indicators: Vec<String>,
    pub(crate) retention: Retention,
    pub(crate) one_shot: bool,
    pub(crate) visitors: bool,
}

/// Where the token of a URL comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The resource: a token for one is not for another, though it may be the same token.
    pub(crate) resource: String,
    pub(crate) connection: String,
    pub(crate) indicator: Option<String>,
    /// What the resource is asked with, where it has tokens of its own.
    pub(crate) scopes: Vec<String>,
}

impl Source {
    pub(crate) fn new(connection: &str, resource: &Resource) -> Self {
        Self {
            resource: resource.name.clone(),
            connection: connection.to_owned(),
            indicator: resource.indicator.clone(),
            scopes: resource.scopes.clone(),
        }
    }

    /// The tokens of a connection for what is not registered as a resource.
    pub(crate) fn without_resource(connection: &str) -> Self {
        Self {
            resource: String::new(),
            connection: connection.to_owned(),
            indicator: None,
            scopes: Vec::new(),
        }
    }
}

impl Connections {
    /// For each provider, what people may grant who sign in there: the login itself, and every connection.
    pub(crate) fn check(
        providers: &[ProviderConfig],
        config: &Config,
        problems: &mut Vec<String>,
    ) -> Vec<Self> {
        // What is wrong with a connection is wrong wherever people sign in, and is told once.
        let mut found = Vec::new();
        let mut others: Vec<(ProviderId, Connection)> = Vec::new();
        for connection in &config.connections {
            if others.iter().any(|(_, other)| other.name == connection.name) {
                found.push(format!(
                    "two connections are called {:?}: give each its own name",
                    connection.name
                ));
            }
            others.push((provider_of(connection, providers, &mut found), connection.clone()));
        }
        let mut all = Vec::new();
        for (index, provider) in providers.iter().enumerate() {
            let login = provider.login.then(|| (ProviderId(index), login(provider, config.login_retention)));
            all.push(Self::seen(login.iter().chain(&others), &mut found));
        }
        for problem in found {
            push_new(problems, &problem);
        }
        all
    }

    fn seen<'a>(
        connections: impl Iterator<Item = &'a (ProviderId, Connection)>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut all = Vec::new();
        let mut resources = Vec::new();
        for (provider, connection) in connections {
            all.push(Registered::new(*provider, connection, problems));
            resources
                .extend(connection.resources.iter().map(|resource| (connection.name.as_str(), resource)));
        }
        let resources = Resources::check(&resources, problems);
        let sign_in = all.iter().find(|connection| connection.name == LOGIN).cloned();
        Self { all, sign_in, resources }
    }

    /// The tokens are an account's: nobody who signs in is asked for them. `by_hand`: a person grants them all the
    /// same, with a login of their own.
    pub(crate) fn serve_account(&mut self, by_hand: bool) {
        if let Some(sign_in) = &mut self.sign_in {
            sign_in.scopes = vec!["openid".to_owned()];
            let own = sign_in.own_scopes.iter().filter(|scope| *scope != "offline_access");
            own.for_each(|scope| push_new(&mut sign_in.scopes, scope));
            sign_in.optional_scopes.clear();
            sign_in.indicators.clear();
        }
        for connection in &mut self.all {
            // An account has no session that its grants could end with.
            connection.retention = Retention::User;
            connection.visitors = false;
            if !by_hand {
                // OpenID Connect Core 1.0 sections 5.4 and 11: these are about a person.
                let personal = ["openid", "profile", "email", "address", "phone", "offline_access"];
                connection.scopes.retain(|scope| !personal.contains(&scope.as_str()));
                // What the configuration asks for beside its resources is what a login asks for.
                if connection.name == LOGIN {
                    connection.scopes.clone_from(&connection.api_scopes);
                }
            }
        }
    }

    /// What a login asks for, where that is not all that is granted at the login's provider; `None` where nobody signs in.
    pub(crate) fn sign_in(&self) -> Option<&Registered> {
        self.sign_in.as_ref()
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &Registered> {
        self.all.iter().filter(|connection| connection.name != LOGIN)
    }

    pub(crate) fn all(&self) -> &[Registered] {
        &self.all
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Registered> {
        self.all.iter().find(|connection| connection.name == name)
    }

    pub(crate) fn resources(&self) -> &Resources {
        &self.resources
    }
}

impl Registered {
    fn new(provider: ProviderId, connection: &Connection, problems: &mut Vec<String>) -> Self {
        if connection.one_shot && connection.visitors {
            problems.push(format!(
                "connection {:?} is for one use, which needs somebody who is signed in: remove for_visitors() or \
                 one_shot()",
                connection.name
            ));
        }
        let mut scopes = Vec::new();
        let asked = connection.resources.iter().flat_map(|resource| &resource.scopes);
        for scope in std::iter::once(&"openid".to_owned()).chain(&connection.scopes).chain(asked) {
            push_new(&mut scopes, scope);
        }
        let mut api_scopes = Vec::new();
        for scope in connection.resources.iter().flat_map(|resource| &resource.scopes) {
            push_new(&mut api_scopes, scope);
        }
        let mut optional_scopes = Vec::new();
        for scope in connection.resources.iter().flat_map(|resource| &resource.optional_scopes) {
            push_new(&mut optional_scopes, scope);
        }
        for scope in scopes.iter().chain(&optional_scopes) {
            if scope.is_empty() || !scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                problems.push(format!("{scope:?} is not a scope (RFC 6749 section 3.3)"));
            }
        }
        Self {
            name: connection.name.clone(),
            provider,
            scopes,
            own_scopes: connection.scopes.clone(),
            api_scopes,
            optional_scopes,
            indicators: connection
                .resources
                .iter()
                .filter_map(|resource| resource.indicator.clone())
                .collect(),
            retention: connection.retention,
            one_shot: connection.one_shot,
            visitors: connection.visitors,
        }
    }

    /// Everything that a visitor is asked for.
    pub(crate) fn visitor_scopes(&self) -> Vec<String> {
        let mut scopes = self.own_scopes.clone();
        self.api_scopes.iter().for_each(|scope| push_new(&mut scopes, scope));
        scopes
    }

    /// The one API whose token comes with the code. Those of several come with the first refresh for each.
    pub(crate) fn single_indicator(&self) -> Option<&str> {
        match self.indicators.as_slice() {
            [indicator] => Some(indicator),
            _ => None,
        }
    }

    /// Whether a scope may be asked for here at all.
    pub(crate) fn knows(&self, scope: &str) -> bool {
        self.scopes.iter().chain(&self.optional_scopes).any(|known| known == scope)
    }
}

/// What the login at a provider asks for, as the connection that it is.
fn login(provider: &ProviderConfig, retention: Retention) -> Connection {
    let login = Connection::new(LOGIN).retention(retention);
    Connection { scopes: provider.scopes.clone(), resources: provider.resources.clone(), ..login }
}

/// Checks a connection's names.
fn provider_of(
    connection: &Connection,
    providers: &[ProviderConfig],
    problems: &mut Vec<String>,
) -> ProviderId {
    let name = &connection.name;
    if !is_name(name) {
        problems.push(format!("a connection is called {name:?}: use up to 64 letters, digits, - and _"));
    }
    if name == LOGIN {
        problems.push("a connection is called `login`, which is the login's own".to_owned());
    }
    let Some(wanted) = &connection.provider else { return ProviderId::FIRST };
    let found = providers.iter().position(|provider| provider.name == *wanted);
    found.map(ProviderId).unwrap_or_else(|| {
        problems.push(format!(
            "the connection {name:?} is at the provider {wanted:?}: there is none of that name"
        ));
        ProviderId::FIRST
    })
}

/// What may name a connection or a provider, in addresses and elsewhere.
pub(crate) fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(known)
}

/// Adds what is not there yet.
pub(crate) fn push_new(scopes: &mut Vec<String>, scope: &str) {
    if !scopes.iter().any(|known| known == scope) {
        scopes.push(scope.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(others: &[Connection]) -> Result<Connections, Vec<String>> {
        let mut problems = Vec::new();
        let mut config = Config::new("https://app.test", "https://op.test", "client", "secret")
            .resource(Resource::new("cal", "https://api.test/cal").scope("cal"));
        config.scopes.clear();
        config.connections = others.to_vec();
        let mut checked = Connections::check(&[ProviderConfig::first(&config)], &config, &mut problems);
        if problems.is_empty() { Ok(checked.remove(0)) } else { Err(problems) }
    }

    #[test]
    fn each_asks_for_its_own_scopes_once() {
        let mail = Connection::new("mail").scope("mail").scope("openid").scope("mail");
        let connections = check(&[mail]).unwrap();
        assert_eq!(connections.named(LOGIN).unwrap().scopes, ["openid", "cal"]);
        assert_eq!(connections.named("mail").unwrap().scopes, ["openid", "mail"]);
    }

    #[test]
    fn names_and_prefixes_are_unique() {
        assert!(check(&[Connection::new("login")]).is_err());
        assert!(check(&[Connection::new("a"), Connection::new("a")]).is_err());
        assert!(check(&[Connection::new("")]).is_err());
        assert!(check(&[Connection::new("a b")]).is_err());
        assert!(check(&[Connection::new("a").scope("x y")]).is_err());
        let same = Connection::new("a").resource(Resource::new("other", "https://api.test/cal/"));
        assert!(check(&[same]).is_err());
        assert!(check(&[Connection::new("a"), Connection::new("b")]).is_ok());
    }
}
