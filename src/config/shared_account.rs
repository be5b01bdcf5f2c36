//! The account whose tokens serve the whole application, in [`OidcLayer::single_user`](crate::OidcLayer::single_user).

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::Config;
use crate::protocol::setters::setters;
use crate::secret::Secret;

/// The one account whose tokens serve every request in single-user mode.
///
/// 1. Its grant comes from the source that its constructor names. A grant from another source, for example from before
///    a change of the configuration, counts as missing. With client credentials, a grant of another client or for
///    other scopes also counts as missing.
/// 2. It requests the scopes of the configuration's resources and connections; an account that an admin connects also
///    requests the configuration's own scopes.
/// 3. Its grants are stored under its name, apart from those of users: neither is ever used in place of the other,
///    also in the same store.
///
/// If there is no token and only an operator can help, requests fail with
/// [`ErrorKind::OperatorActionRequired`](crate::ErrorKind::OperatorActionRequired), and no visitor is redirected.
///
/// In serde: `{"source": "client_credentials"}`, `{"source": {"refresh_token": "…"}}` or `{"source": "admin"}`, with
/// `name` and `allow_volatile_store` as needed.
///
/// ```no_run
/// use tower_oidc::{Config, OidcLayer, Resource, SharedAccount, store::MemoryStore};
///
/// # fn main() -> Result<(), tower_oidc::ConfigError> {
/// let config = Config::from_env()?.resource(Resource::new("weather", "https://api.example/weather/"));
/// let auth = OidcLayer::single_user(config, SharedAccount::client_credentials(), MemoryStore::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedAccount {
    #[serde(default = "default_name", deserialize_with = "name")]
    pub(crate) name: Name,
    pub(crate) source: AccountSource,
    #[serde(default)]
    pub(crate) allow_volatile_store: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountSource {
    ClientCredentials,
    RefreshToken(Secret),
    Admin,
}

type Name = Arc<str>;

fn default_name() -> Name {
    "default".into()
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}

impl SharedAccount {
    /// Uses the application's own credentials at the provider (RFC 6749 section 4.4). It needs no durable store.
    pub fn client_credentials() -> Self {
        Self::new(AccountSource::ClientCredentials)
    }

    /// Uses a refresh token obtained out of band.
    ///
    /// It is used if the store holds no grant that began with it. A provider that rotates refresh tokens makes it
    /// worthless at its first use: the new one is kept in the store, which must be durable. With the memory store the
    /// application works until it ends; at the first rotation
    /// [`EventCode::NeedsOperator`](crate::EventCode::NeedsOperator) and
    /// [`OidcLayer::account_status`](crate::OidcLayer::account_status) report that the next start will fail.
    pub fn refresh_token(token: impl Into<Secret>) -> Self {
        Self::new(AccountSource::RefreshToken(token.into()))
    }

    /// Uses the account with which an admin signs in at the provider after opening `/auth/connect?connection=login`.
    ///
    /// It can be any account there, also another one than the admin's own. The store must be durable.
    pub fn connected_by_admin() -> Self {
        Self::new(AccountSource::Admin)
    }

    pub(super) fn new(source: AccountSource) -> Self {
        Self { name: default_name(), source, allow_volatile_store: false }
    }

    setters! {
        /// Sets another name than `default`. Applications with different public URLs share no account, whatever its name.
        into with_name to name: Name;
        /// Allows a store that does not outlive the process: an operator connects the account again after each start.
        set allow_volatile_store: true;
    }

    /// Generates the application's client secret at the development provider.
    pub(crate) fn prepare(&self, config: &mut Config) {
        let proves = matches!(self.source, AccountSource::ClientCredentials);
        if proves && config.is_development() && config.provider.client_secret.is_none() {
            config.provider.client_secret = Some(Secret::new(config.random.token()));
        }
    }

    /// Whether a person signs in at the provider to grant it.
    pub(crate) fn is_granted_by_hand(&self) -> bool {
        matches!(self.source, AccountSource::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    fn from(variables: &[(&str, &str)]) -> Result<SharedAccount, String> {
        let needed = [("OIDC_ISSUER", "https://op.example"), ("MODE", "single-user")];
        let config = Config::from_env_with(|name| {
            let mut all = variables.iter().chain(&needed);
            all.find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        });
        match config.map_err(|error| error.to_string())?.mode {
            Mode::SingleUser(account) => Ok(account),
            mode => panic!("{mode:?}"),
        }
    }

    #[test]
    fn the_environment_says_which_account() {
        assert!(matches!(from(&[]).unwrap().source, AccountSource::ClientCredentials));
        assert!(matches!(from(&[("ACCOUNT", "operator")]).unwrap().source, AccountSource::Admin));
        let account = from(&[("ACCOUNT", "refresh-token"), ("ACCOUNT_REFRESH_TOKEN", " rt-secret ")]).unwrap();
        assert!(matches!(&account.source, AccountSource::RefreshToken(token) if token.expose_secret() == "rt-secret"));
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
}
