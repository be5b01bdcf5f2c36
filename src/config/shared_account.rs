//! The account whose tokens serve the whole application, in [`OidcLayer::single_user`](crate::OidcLayer::single_user).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Config;
use super::connection::Registered;
use super::environment::Environment;
use super::provider::ProviderConfig;
use super::resource::Resources;
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::protocol::token::ClientAuth;
use crate::records::grant::{Grant, Origin, Owner, Standing, encode};
use crate::secret::Secret;

/// The one account whose tokens every request gets, whoever sent it: never a browser's.
///
/// 1. What it is granted comes from where its constructor says. A grant that came from elsewhere, such as before the
///    configuration was changed, counts as missing. With client credentials that is also what another client was
///    given, or what was given for other scopes.
/// 2. What it asks for are the scopes of the configuration's resources and connections; an operator's account asks
///    for the configuration's own scopes besides.
/// 3. Its grants lie under its name, apart from those of people: neither is ever taken for the other, in the same
///    store either.
///
/// When there is no token and only an operator can help, requests fail with
/// [`ErrorKind::NeedsOperator`](crate::ErrorKind::NeedsOperator): no visitor is sent anywhere for it.
#[derive(Clone)]
pub struct Account {
    name: Arc<str>,
    source: Source,
    forgotten_at_restart: bool,
}

#[derive(Clone)]
enum Source {
    ClientCredentials,
    RefreshToken(Secret),
    Operator,
}

impl Account {
    /// The application itself, by its own secret at the provider (RFC 6749 section 4.4). Nothing has to be kept.
    pub fn client_credentials() -> Self {
        Self::new(Source::ClientCredentials)
    }

    /// Whoever granted this refresh token to the application.
    ///
    /// It is used once the store holds no grant that began with it. A provider that rotates refresh tokens makes it
    /// worthless at its first use: what it gave instead is kept in the store, which must be a durable one. With the
    /// memory store the application works on until it ends, [`EventCode::NeedsOperator`](crate::EventCode::NeedsOperator)
    /// says at the first rotation that the next start will fail, and so does
    /// [`OidcLayer::account_status`](crate::OidcLayer::account_status).
    pub fn refresh_token(token: impl Into<Secret>) -> Self {
        Self::new(Source::RefreshToken(token.into()))
    }

    /// The account with which an admin signs in at the provider when they open `/auth/connect?connection=login`.
    ///
    /// It may be any account there, and need not be the one that the admin is signed in here with. The store must be
    /// a durable one.
    pub fn operator() -> Self {
        Self::new(Source::Operator)
    }

    fn new(source: Source) -> Self {
        Self { name: "default".into(), source, forgotten_at_restart: false }
    }

    /// Reads the environment: `ACCOUNT` (`client-credentials`, `refresh-token` or `operator`; the first where it is
    /// not set) and `ACCOUNT_REFRESH_TOKEN`, which may stand in the file that `ACCOUNT_REFRESH_TOKEN_FILE` names. A token
    /// beside another `ACCOUNT` is an error.
    ///
    /// # Errors
    ///
    /// Everything that cannot be read, at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same as [`Account::from_env`] with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// Everything that cannot be read, at once.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let environment = Environment::new(variable);
        let mut problems = Vec::new();
        let token = environment.secret("ACCOUNT_REFRESH_TOKEN", &mut problems);
        let account = match (environment.value("ACCOUNT").as_deref(), token) {
            (Some("refresh-token"), Some(token)) => Self::refresh_token(token),
            (Some("refresh-token"), None) => {
                problems.push("ACCOUNT is refresh-token: set ACCOUNT_REFRESH_TOKEN too".to_owned());
                Self::operator()
            }
            (None | Some("client-credentials"), None) => Self::client_credentials(),
            (Some("operator"), None) => Self::operator(),
            (None | Some("client-credentials" | "operator"), Some(_)) => {
                problems.push(
                    "ACCOUNT_REFRESH_TOKEN is set: set ACCOUNT to refresh-token, or remove it".to_owned(),
                );
                Self::operator()
            }
            (Some(other), _) => {
                problems
                    .push(format!("ACCOUNT is {other:?}: use client-credentials, refresh-token or operator"));
                Self::operator()
            }
        };
        ConfigError::check(problems)?;
        Ok(account)
    }

    /// Another name than `default`. Applications with a public URL of their own share no account, whatever it is called.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into().into();
        self
    }

    /// Allows a store that does not outlive the process: an operator connects the account again after each start.
    #[must_use]
    pub fn forgotten_at_restart(mut self) -> Self {
        self.forgotten_at_restart = true;
        self
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What cannot work, each with its remedy.
    pub(crate) fn problems(&self, config: &Config, durable: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let name = self.name.as_bytes();
        if name.is_empty()
            || name.len() > 64
            || !name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        {
            problems.push(format!(
                "the account is called {:?}: use up to 64 letters, digits, -, _ and .",
                self.name
            ));
        }
        for connection in config.connections.iter().filter(|connection| connection.one_shot) {
            problems.push(format!(
                "connection {:?} is for one use, and the account is for everybody: remove one_shot()",
                connection.name
            ));
        }
        match &self.source {
            Source::ClientCredentials => {
                let secret = config.client_secret.is_some() && config.client_auth != Some(ClientAuth::None);
                if !secret && !config.is_development() {
                    problems.push(
                        "Account::client_credentials() needs a client_secret (OIDC_CLIENT_SECRET), with which the \
                         application proves itself"
                            .to_owned(),
                    );
                }
                for connection in &config.connections {
                    let provider = config
                        .providers
                        .iter()
                        .find(|provider| connection.provider.as_ref() == Some(&provider.name));
                    let proves = |provider: &ProviderConfig| {
                        provider.client_secret.is_some() && provider.client_auth != Some(ClientAuth::None)
                    };
                    if provider.is_some_and(|provider| !proves(provider)) {
                        problems.push(format!(
                            "connection {:?} is at a provider without a client_secret, with which \
                             Account::client_credentials() proves itself there",
                            connection.name
                        ));
                    }
                }
            }
            Source::RefreshToken(token) => {
                if token.expose_secret().is_empty() {
                    problems.push("the account's refresh token is empty (ACCOUNT_REFRESH_TOKEN)".to_owned());
                }
                for connection in &config.connections {
                    problems.push(format!(
                        "connection {:?} has no grant: the account's one refresh token serves the configuration's own \
                         resources; move its resources there, or use Account::operator()",
                        connection.name
                    ));
                }
            }
            Source::Operator => {
                if !durable && !self.forgotten_at_restart {
                    problems.push(
                        "Account::operator() is connected by hand, and the store forgets it at every restart: use a \
                         durable store, or allow it by forgotten_at_restart()"
                            .to_owned(),
                    );
                }
                let admins = !config.admins.is_empty() || !config.admin_subjects.is_empty();
                // The development provider's people say themselves whether they are admins.
                if !admins && config.admin_claim.is_none() && !config.is_development() {
                    problems.push(
                        "Account::operator() is connected by an admin, and nobody is one: set admins (ADMINS), \
                         admin_subjects or admin_claim"
                            .to_owned(),
                    );
                }
            }
        }
        problems
    }

    /// The application's own secret at the development provider is nobody's business: it is made up.
    pub(crate) fn prepare(&self, config: &mut Config) {
        let proves = matches!(self.source, Source::ClientCredentials);
        if proves && config.is_development() && config.client_secret.is_none() {
            config.client_secret = Some(Secret::new(config.random.token()));
        }
    }

    /// Whether a person signs in at the provider to grant it.
    pub(crate) fn is_granted_by_hand(&self) -> bool {
        matches!(self.source, Source::Operator)
    }

    /// Whether this is where a grant came from.
    pub(crate) fn is_origin(&self, origin: Origin) -> bool {
        origin == self.origin()
    }

    /// What its grants at a connection come from, in bytes for names.
    pub(crate) fn variant(&self, connection: &Registered, resources: &Resources) -> Vec<u8> {
        match self.origin() {
            Origin::Consent => encode(&[b"consent"]),
            // Nothing but the configuration says what these are good for, and new ones are there for the asking.
            Origin::ClientCredentials => encode(&[b"client credentials", &asked(connection, resources)]),
            Origin::Configured { seed } => encode(&[b"configured", &seed[..]]),
        }
    }

    fn origin(&self) -> Origin {
        match &self.source {
            Source::ClientCredentials => Origin::ClientCredentials,
            Source::RefreshToken(token) => Origin::Configured { seed: seed(token) },
            Source::Operator => Origin::Consent,
        }
    }

    /// What the account has without anybody's doing.
    pub(crate) fn beginning(&self, connection: &Registered, client: [u8; 32]) -> Option<Grant> {
        let refresh_token = match &self.source {
            Source::ClientCredentials => None,
            Source::RefreshToken(token) => Some(token.clone()),
            Source::Operator => return None,
        };
        Some(Grant {
            owner: Owner::Account { name: self.name.to_string() },
            client,
            connection: connection.name.clone(),
            origin: self.origin(),
            generation: 1,
            refresh_token,
            facts: None,
            // As configured, until the provider says what it is.
            scopes: connection.scopes.clone(),
            token_sets: Vec::new(),
            lease: None,
            standing: Standing::Good,
            consent: None,
            earlier: None,
        })
    }

    /// What an operator does where there is no token.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.source {
            Source::ClientCredentials => {
                "the provider refuses the application's own credentials: look at its registration there, and at the \
                 scopes"
            }
            Source::RefreshToken(_) => {
                "the provider refuses the account's refresh token, or did not grant what is asked for: configure \
                 another one (ACCOUNT_REFRESH_TOKEN); where the events say that it refuses the application itself, \
                 mend its registration there"
            }
            Source::Operator => {
                "an admin connects the account at /auth/connect, below the public URL; where the events say that the \
                 provider refuses the application itself, first mend its registration there"
            }
        }
    }
}

/// What a connection's tokens are asked with, in whatever order that is configured.
fn asked(connection: &Registered, resources: &Resources) -> Vec<u8> {
    let set = |mut parts: Vec<&[u8]>| {
        parts.sort_unstable();
        parts.dedup();
        encode(&parts)
    };
    let scopes = |scopes: &[String]| set(scopes.iter().map(String::as_bytes).collect());
    let own = resources.of(&connection.name).filter_map(|source| {
        let indicator = source.indicator.as_ref()?;
        Some(encode(&[indicator.as_bytes(), &scopes(&source.scopes)]))
    });
    let own: Vec<_> = own.collect();
    encode(&[&scopes(&connection.scopes), &set(own.iter().map(Vec::as_slice).collect())])
}

/// What a grant remembers of the refresh token that it began with.
pub(crate) fn seed(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose_secret()).into()
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::ClientCredentials => "client credentials",
            Source::RefreshToken(_) => "refresh token",
            Source::Operator => "operator",
        };
        f.debug_struct("Account").field("name", &self.name).field("source", &source).finish()
    }
}

/// How the account stands at one connection. See [`OidcLayer::account_status`](crate::OidcLayer::account_status).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccountStatus {
    /// The connection; `login` for the configuration's own resources.
    pub connection: String,
    /// Whether it works, for every one of the connection's resources.
    pub state: AccountState,
    /// When the first of its access tokens expires, where the provider says so. It is renewed before that.
    pub expires_at: Option<Timestamp>,
    /// Who granted it, where that is known: a subject at the provider.
    pub subject: Option<String>,
    /// What is wrong, for the operator. No secret is in it.
    pub why: Option<String>,
}

/// Whether the account works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountState {
    /// There is a token.
    Connected,
    /// The operator must act: there is no token until then, or there will be none after the next restart.
    NeedsOperator,
    /// The provider or the store is away, and it will work later.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Account, String> {
        Account::from_variables(|name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_says_which_account() {
        assert!(matches!(from(&[]).unwrap().source, Source::ClientCredentials));
        assert!(matches!(from(&[("ACCOUNT", "operator")]).unwrap().source, Source::Operator));
        let account =
            from(&[("ACCOUNT", "refresh-token"), ("ACCOUNT_REFRESH_TOKEN", " rt-secret ")]).unwrap();
        assert!(
            matches!(&account.source, Source::RefreshToken(token) if token.expose_secret() == "rt-secret")
        );
        assert!(!format!("{account:?}").contains("rt-secret"));
        for (variables, named) in [
            (&[("ACCOUNT", "robot")][..], "ACCOUNT"),
            (&[("ACCOUNT", "refresh-token")], "ACCOUNT_REFRESH_TOKEN"),
            (&[("ACCOUNT_REFRESH_TOKEN", "rt-secret")], "refresh-token"),
            (&[("ACCOUNT", "operator"), ("ACCOUNT_REFRESH_TOKEN", "rt-secret")], "remove it"),
        ] {
            let refused = from(variables).unwrap_err();
            assert!(refused.contains(named) && !refused.contains("rt-secret"), "{refused}");
        }
    }

    /// A grant counts for the account that it came from: another source, or another configured token, begins anew.
    #[test]
    fn a_grant_of_another_origin_is_not_this_accounts() {
        let accounts = [
            Account::client_credentials(),
            Account::refresh_token("one"),
            Account::refresh_token("two"),
            Account::operator(),
        ];
        for (at, account) in accounts.iter().enumerate() {
            for (other_at, other) in accounts.iter().enumerate() {
                assert_eq!(account.is_origin(other.origin()), at == other_at, "{account:?} {other:?}");
            }
        }
    }
}
