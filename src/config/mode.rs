//! The modes, which answer one question: whose tokens are a request's? Nothing else knows which mode it is.

use serde::Deserialize;

use super::connection::{Connection, GrantLifetime};
use super::shared_account::SharedAccount;
use super::{Config, checks};

/// The owner of the tokens that requests use, and the place where they are kept.
///
/// ```no_run
/// use tower_oidc::{Config, Mode, OidcLayer, store::MemoryStore};
///
/// # fn main() -> Result<(), tower_oidc::ConfigError> {
/// // `MODE` in the environment says it, unless the program does.
/// let auth = OidcLayer::from_config(Config::from_env()?, MemoryStore::new())?;
/// let stateless = OidcLayer::from_config(Config::from_env()?.mode(Mode::Stateless), MemoryStore::new())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Each user has their own tokens, kept in the store. See [`OidcLayer::per_user`](crate::OidcLayer::per_user).
    #[default]
    PerUser,
    /// Each user has their own tokens, kept in their browser's cookies. See
    /// [`OidcLayer::stateless`](crate::OidcLayer::stateless).
    Stateless,
    /// All users use the tokens of this account, kept in the store. See
    /// [`OidcLayer::single_user`](crate::OidcLayer::single_user).
    SingleUser(SharedAccount),
}

impl Mode {
    /// Whether sessions and grants are kept in cookies.
    pub(crate) fn is_stateless(&self) -> bool {
        matches!(self, Self::Stateless)
    }

    /// Checks a configuration in this mode.
    pub(crate) fn check(&self, config: &Config, durable: bool, problems: &mut Vec<String>) {
        match self {
            Self::PerUser => {}
            Self::Stateless => checks::stateless(config, problems),
            Self::SingleUser(account) => account.check(config, durable, problems),
        }
        for Connection { name, single_use, .. } in config.connections().filter(|connection| connection.visitors) {
            if *single_use {
                problems.push(format!(
                    "connection {name:?} is for visitors and for one use, which needs a signed-in user, because a visitor's grant \
                     is kept: remove allow_visitors() or single_use()"
                ));
            }
            if self.account().is_some() {
                problems.push(format!(
                    "connection {name:?} is for visitors, but in single-user mode all requests use the account's tokens: \
                     remove allow_visitors(), or use OidcLayer::per_user or OidcLayer::stateless"
                ));
            }
        }
    }

    /// Whether background work reaches users' grants of this lifetime; else the error text.
    pub(crate) fn reaches(&self, lifetime: GrantLifetime) -> Result<(), &'static str> {
        Err(match self {
            Self::PerUser if lifetime == GrantLifetime::Persistent => return Ok(()),
            Self::PerUser => {
                "background work reaches users' grants with GrantLifetime::Persistent only: set it on the connection (or \
                 as login_grant_lifetime)"
            }
            Self::Stateless => {
                "background work reaches no grants in stateless mode, where browsers keep them: use \
                 OidcLayer::per_user with a store, and GrantLifetime::Persistent"
            }
            Self::SingleUser(_) => {
                "in single-user mode users have no grants of their own: use BackgroundTokens::account, or \
                 OidcLayer::per_user"
            }
        })
    }

    /// The account that everybody uses, a request without any cookie too.
    pub(crate) fn account(&self) -> Option<&SharedAccount> {
        if let Self::SingleUser(account) = self { Some(account) } else { None }
    }
}
