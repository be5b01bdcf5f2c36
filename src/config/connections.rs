//! The connections at one provider, checked.

use super::Config;
use super::connection::{Connection, GrantLifetime, Resource, distinct};
use super::resources::Resources;
use crate::protocol::ApiNaming;
use crate::provider::provider_config::is_name;
use crate::provider::{ProviderConfig, ProviderId};
use crate::records::LOGIN;

/// Scopes about a person, and not about an API (OpenID Connect Core 1.0 sections 5.4 and 11). Providers grant some without
/// saying so, or under names of their own.
pub(crate) const PERSONAL: &[&str] = &["openid", "profile", "email", "address", "phone", "offline_access"];

/// The checked connections for users who signed in at one provider; the login itself is the first.
#[derive(Clone, Debug)]
pub(crate) struct CheckedConnections {
    pub(crate) all: Vec<CheckedConnection>,
    /// The login's connection as it is requested; `None` for a provider without logins. In single-user mode it has fewer
    /// scopes than the account's connection of the same name.
    pub(crate) sign_in: Option<CheckedConnection>,
    pub(crate) resources: Resources,
}

/// One connection as it is used.
#[derive(Clone, Debug)]
pub(crate) struct CheckedConnection {
    pub(crate) name: String,
    /// Where it is granted, and where its tokens are refreshed.
    pub(crate) provider: ProviderId,
    /// Everything that is asked for.
    pub(crate) scopes: Vec<String>,
    /// The connection's own scopes, and those of its resources.
    own_scopes: Vec<String>,
    api_scopes: Vec<String>,
    /// Scopes that may be requested later.
    pub(crate) optional_scopes: Vec<String>,
    pub(crate) indicators: Vec<String>,
    /// Scopes of the APIs of which the token that comes with the code is none: what is said of that token says nothing of them.
    pub(crate) elsewhere: Vec<String>,
    pub(crate) grant_lifetime: GrantLifetime,
    pub(crate) single_use: bool,
    pub(crate) visitors: bool,
    /// Whether any API is called with its tokens.
    pub(crate) has_resources: bool,
}

impl CheckedConnections {
    /// For each provider, what people may grant who sign in there: the login itself, and every connection.
    pub(crate) fn check(providers: &[ProviderConfig], config: &Config, problems: &mut Vec<String>) -> Vec<Self> {
        // What is wrong with a connection is wrong wherever people sign in, and is told once.
        let mut found = Vec::new();
        let mut others: Vec<(ProviderId, Connection)> = Vec::new();
        for (index, provider) in providers.iter().enumerate() {
            for connection in &provider.connections {
                let name = &connection.name;
                if others.iter().any(|(_, other)| other.name == *name) {
                    found.push(format!("two connections have the name {name:?}: give each its own name"));
                }
                if !is_name(name) {
                    found.push(format!("connection name {name:?} is invalid: use up to 64 letters, digits, - and _"));
                }
                if name == LOGIN {
                    found.push("connection name `login` is reserved".to_owned());
                }
                others.push((ProviderId(index), connection.clone()));
            }
        }
        let seen = providers.iter().enumerate().map(|(index, provider)| {
            let login = provider.login.then(|| (ProviderId(index), login(provider, config.login_grant_lifetime)));
            let (mut all, mut resources) = (Vec::new(), Vec::new());
            for (provider, connection) in login.iter().chain(&others) {
                all.push(CheckedConnection::new(*provider, connection, &providers[provider.0], &mut found));
                resources.extend(connection.resources.iter().map(|resource| (connection.name.as_str(), resource)));
            }
            let resources = Resources::check(&resources, &mut found);
            let sign_in = all.iter().find(|connection| connection.name == LOGIN).cloned();
            Self { all, sign_in, resources }
        });
        let seen = seen.collect();
        problems.extend(distinct(&found));
        seen
    }

    /// The tokens are an account's: nobody who signs in is asked for them. `by_hand`: a person grants them all the
    /// same, with a login of their own.
    pub(crate) fn serve_account(&mut self, by_hand: bool, revalidates: bool) {
        if let Some(sign_in) = &mut self.sign_in {
            let own = |scope: &String| (revalidates || scope != "offline_access") && sign_in.own_scopes.contains(scope);
            sign_in.scopes.retain(|scope| scope == "openid" || own(scope));
            sign_in.optional_scopes.clear();
            sign_in.indicators.clear();
            sign_in.has_resources = false;
        }
        for connection in &mut self.all {
            // An account has no session that its grants could end with.
            connection.grant_lifetime = GrantLifetime::Persistent;
            connection.visitors = false;
            if !by_hand {
                connection.scopes.retain(|scope| !PERSONAL.contains(&scope.as_str()));
                // What the configuration asks for beside its resources is what a login asks for.
                if connection.name == LOGIN {
                    connection.scopes.clone_from(&connection.api_scopes);
                }
            }
        }
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &CheckedConnection> {
        self.all.iter().filter(|connection| connection.name != LOGIN)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&CheckedConnection> {
        self.all.iter().find(|connection| connection.name == name)
    }
}

impl CheckedConnection {
    fn new(id: ProviderId, connection: &Connection, provider: &ProviderConfig, problems: &mut Vec<String>) -> Self {
        let of_resources = |of: fn(&Resource) -> &Vec<String>| distinct(connection.resources.iter().flat_map(of));
        let api_scopes = of_resources(|resource| &resource.scopes);
        let optional_scopes = of_resources(|resource| &resource.optional_scopes);
        let openid = provider.oauth2.is_none().then(|| "openid".to_owned());
        let scopes = distinct(openid.iter().chain(&connection.scopes).chain(&api_scopes));
        for scope in scopes.iter().chain(&optional_scopes) {
            if scope.is_empty() || !scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                problems.push(format!("{scope:?} is not a scope (RFC 6749 section 3.3)"));
            }
        }
        let most = if provider.api_naming == ApiNaming::Audience { 1 } else { usize::MAX };
        let indicators = connection.resources.iter().filter_map(|resource| resource.indicator.clone());
        let indicators: Vec<_> = indicators.take(most).collect();
        // RFC 8707 section 2.2: there the code is for all of them.
        let is_for_all = provider.api_naming == ApiNaming::Resource;
        let is_elsewhere =
            |api: &&Resource| !is_for_all && api.indicator.is_some() && api.indicator.as_slice() != indicators;
        let (others, here): (Vec<_>, Vec<_>) = connection.resources.iter().partition(is_elsewhere);
        let [others, here] =
            [others, here].map(|apis| apis.into_iter().flat_map(|api| [&api.scopes, &api.optional_scopes]).flatten());
        let here = distinct(openid.iter().chain(&connection.scopes).chain(here));
        let elsewhere = others.filter(|scope| !here.contains(scope)).cloned().collect();
        Self {
            name: connection.name.clone(),
            provider: id,
            scopes,
            own_scopes: connection.scopes.clone(),
            api_scopes,
            optional_scopes,
            indicators,
            elsewhere,
            grant_lifetime: connection.grant_lifetime,
            single_use: connection.single_use,
            visitors: connection.visitors,
            has_resources: !connection.resources.is_empty(),
        }
    }

    /// Everything that a visitor is asked for.
    pub(crate) fn visitor_scopes(&self) -> Vec<String> {
        distinct(self.own_scopes.iter().chain(&self.api_scopes))
    }

    /// The one API whose token comes with the code. Those of several come with the first refresh for each.
    pub(crate) fn single_indicator(&self) -> Option<&str> {
        if let [indicator] = self.indicators.as_slice() { Some(indicator) } else { None }
    }

    /// The scopes, among these, of the token that comes with the code.
    pub(crate) fn of_code(&self, scopes: &[String]) -> Vec<String> {
        scopes.iter().filter(|scope| !self.elsewhere.contains(scope)).cloned().collect()
    }

    /// The scopes that a consent grants, where the token response names these of them.
    pub(crate) fn granted(&self, named: &[String], asked: &[String]) -> Vec<String> {
        distinct(named.iter().chain(asked.iter().filter(|scope| self.elsewhere.contains(scope))))
    }

    /// Whether a scope may be asked for here at all.
    pub(crate) fn knows(&self, scope: &str) -> bool {
        self.scopes.iter().chain(&self.optional_scopes).any(|known| known == scope)
    }
}

/// The login at a provider, written as a connection.
fn login(provider: &ProviderConfig, grant_lifetime: GrantLifetime) -> Connection {
    let login = Connection::new(LOGIN).grant_lifetime(grant_lifetime);
    Connection { scopes: provider.scopes.clone(), resources: provider.resources.clone(), ..login }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(others: &[Connection]) -> Result<CheckedConnections, Vec<String>> {
        let mut problems = Vec::new();
        let provider = ProviderConfig::new("https://op.test", "client").scopes([] as [&str; 0]);
        let mut config = Config::new("https://app.test", provider)
            .resource(Resource::new("cal", "https://api.test/cal").scope("cal"));
        config.provider.connections = others.to_vec();
        let mut checked = CheckedConnections::check(&[config.provider.clone()], &config, &mut problems);
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
