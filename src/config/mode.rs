//! The modes, which answer one question: whose tokens are a request's? Nothing else knows which mode it is.

use super::connections::CheckedConnections;
use super::shared_account::SharedAccount;
use super::{Config, checks};

/// Whose tokens requests get. The layer's constructors choose it.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Each person has their own.
    PerUser,
    /// As with [`Mode::PerUser`], and their browsers keep them.
    Stateless(Coordination),
    /// Everybody uses the tokens of this account.
    SingleUser(SharedAccount),
}

/// Where the processes of an application meet whose sessions and grants are kept by browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coordination {
    /// In this process, which is the only one.
    InProcess,
    /// In a store that all of them share.
    Shared,
}

impl Mode {
    /// Where processes meet, if sessions and grants are kept by browsers.
    pub(crate) fn coordination(&self) -> Option<Coordination> {
        match self {
            Self::PerUser | Self::SingleUser(_) => None,
            Self::Stateless(coordination) => Some(*coordination),
        }
    }

    /// Fills in what the mode needs and nobody has to say.
    pub(crate) fn prepare(&self, config: &mut Config) {
        match self {
            Self::PerUser | Self::Stateless(_) => {}
            Self::SingleUser(account) => account.prepare(config),
        }
    }

    /// What cannot work in this mode, each with its remedy.
    pub(crate) fn problems(&self, config: &Config, durable: bool) -> Vec<String> {
        let mut problems = match self {
            Self::PerUser => Vec::new(),
            Self::Stateless(_) => checks::stateless_problems(config),
            Self::SingleUser(account) => account.problems(config, durable),
        };
        for connection in config.connections.iter().filter(|connection| connection.visitors) {
            let name = &connection.name;
            if connection.single_use {
                problems.push(format!(
                    "connection {name:?} is for visitors and for one use: a visitor's grant is kept, so leave one of \
                     the two out"
                ));
            }
            if self.account().is_some() {
                problems.push(format!(
                    "connection {name:?} is for visitors, and in single-user mode everybody gets the account's tokens: \
                     leave allow_visitors out, or use OidcLayer::per_user or OidcLayer::stateless"
                ));
            }
        }
        problems
    }

    /// Who grants what.
    pub(crate) fn arrange(&self, connections: &mut CheckedConnections) {
        match self {
            Self::PerUser | Self::Stateless(_) => {}
            Self::SingleUser(account) => connections.serve_account(account.is_granted_by_hand()),
        }
    }

    /// Whether a login's tokens are the person's to use later.
    pub(crate) fn keeps_logins(&self) -> bool {
        match self {
            Self::PerUser | Self::Stateless(_) => true,
            Self::SingleUser(_) => false,
        }
    }

    /// What to tell work in the background that asks for a person's grant and cannot reach it.
    pub(crate) fn out_of_reach(&self) -> &'static str {
        match self {
            Self::PerUser => {
                "work in the background reaches grants of people with GrantLifetime::Persistent: give the connection (or \
                 login_grant_lifetime) that one"
            }
            Self::Stateless(_) => {
                "work in the background reaches nobody's grants in stateless mode, where browsers keep them: use \
                 OidcLayer::per_user with a store, and GrantLifetime::Persistent"
            }
            Self::SingleUser(_) => {
                "in single-user mode nobody has grants of their own: use BackgroundTokens::account, or \
                 OidcLayer::per_user"
            }
        }
    }

    /// The account that everybody uses, a request without any cookie too.
    pub(crate) fn account(&self) -> Option<&SharedAccount> {
        match self {
            Self::PerUser | Self::Stateless(_) => None,
            Self::SingleUser(account) => Some(account),
        }
    }
}
