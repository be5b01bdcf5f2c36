//! The modes, which answer one question: whose tokens are a request's? Nothing else knows which mode it is.

use std::sync::Arc;

use super::Config;
use super::connection::{Connections, Registered};
use super::shared_account::Account;
use crate::error::Error;
use crate::extract::request::RequestState;
use crate::provider::Provider;
use crate::provider::relying_party::ProviderId;
use crate::records::grant::{Grant, Owner};
use crate::sessions::session::Session;
use crate::sessions::visitor_id::Visitor;
use crate::state::Runtime;
use crate::stateless;

/// Whose tokens requests get. The layer's constructors choose it.
#[derive(Clone, Debug)]
pub(crate) struct Ownership(Mode);

#[derive(Clone, Debug)]
enum Mode {
    PerUser,
    /// As with [`Mode::PerUser`], and their browsers carry them.
    Stateless(Rendezvous),
    SingleUser(Account),
}

/// Where the processes of an application meet whose sessions and grants are kept by browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rendezvous {
    /// In this process, which is the only one.
    Here,
    /// In a store that all of them share.
    Shared,
}

/// Whom the tokens of one request belong to.
#[derive(Clone)]
pub(crate) enum Holder {
    /// The person of this session, as long as it lasts.
    Session(Arc<Session>),
    /// The account of this name, whoever asks.
    Account(Arc<str>),
    /// A browser in which nobody is signed in.
    Visitor(Visitor),
    /// Somebody who need not be there: work in the background asks, and no request.
    Person { issuer: Arc<str>, subject: Arc<str> },
}

impl Ownership {
    /// Each person has their own.
    pub(crate) fn per_user() -> Self {
        Self(Mode::PerUser)
    }

    /// The same, and their browsers carry them.
    pub(crate) fn stateless(rendezvous: Rendezvous) -> Self {
        Self(Mode::Stateless(rendezvous))
    }

    /// Everybody gets this account's.
    pub(crate) fn single_user(account: Account) -> Self {
        Self(Mode::SingleUser(account))
    }

    /// Where processes meet, if sessions and grants are kept by browsers.
    pub(crate) fn rendezvous(&self) -> Option<Rendezvous> {
        match self.0 {
            Mode::PerUser | Mode::SingleUser(_) => None,
            Mode::Stateless(rendezvous) => Some(rendezvous),
        }
    }

    /// Fills in what the mode needs and nobody has to say.
    pub(crate) fn prepare(&self, config: &mut Config) {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => {}
            Mode::SingleUser(account) => account.prepare(config),
        }
    }

    /// What cannot work in this mode, each with its remedy.
    pub(crate) fn problems(&self, config: &Config, durable: bool) -> Vec<String> {
        let mut problems = match &self.0 {
            Mode::PerUser => Vec::new(),
            Mode::Stateless(_) => stateless::problems(config),
            Mode::SingleUser(account) => account.problems(config, durable),
        };
        for connection in config.connections.iter().filter(|connection| connection.visitors) {
            let name = &connection.name;
            if connection.one_shot {
                problems.push(format!(
                    "connection {name:?} is for visitors and for one use: a visitor's grant is kept, so leave one of \
                     the two out"
                ));
            }
            if self.account().is_some() {
                problems.push(format!(
                    "connection {name:?} is for visitors, and in single-user mode everybody gets the account's tokens: \
                     leave for_visitors out, or use OidcLayer::per_user or OidcLayer::stateless"
                ));
            }
        }
        problems
    }

    /// Who grants what.
    pub(crate) fn arrange(&self, connections: &mut Connections) {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => {}
            Mode::SingleUser(account) => connections.serve_account(account.is_granted_by_hand()),
        }
    }

    /// The holder of a request's tokens, or the error that says who must act.
    pub(crate) fn holder(&self, request: &RequestState) -> Result<Holder, Error> {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => match (&request.session, &request.visitor) {
                (Some(session), _) => Ok(Holder::Session(Arc::clone(session))),
                (None, _) if !request.runtime.settings.takes_visitors() => Err(request.unauthenticated()),
                (None, Some(visitor)) => Ok(Holder::Visitor(**visitor)),
                // Nobody has been here under this name, and nothing is found for it.
                (None, None) => Ok(Holder::Visitor(Visitor::new(request.runtime.random.bytes()))),
            },
            Mode::SingleUser(account) => Ok(Holder::Account(Arc::clone(account.name()))),
        }
    }

    /// For whom the person of a session grants connections and takes them back.
    pub(crate) fn granted_to(&self, session: &Arc<Session>) -> Holder {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => Holder::Session(Arc::clone(session)),
            Mode::SingleUser(account) => Holder::Account(Arc::clone(account.name())),
        }
    }

    /// Whether a login's tokens are the person's to use later.
    pub(crate) fn keeps_logins(&self) -> bool {
        match self.0 {
            Mode::PerUser | Mode::Stateless(_) => true,
            Mode::SingleUser(_) => false,
        }
    }

    /// What to tell work in the background that asks for a person's grant and cannot reach it.
    pub(crate) fn out_of_reach(&self) -> &'static str {
        match self.0 {
            Mode::PerUser => {
                "work in the background reaches grants of people with Retention::User: give the connection (or \
                 login_retention) that one"
            }
            Mode::Stateless(_) => {
                "work in the background reaches nobody's grants in stateless mode, where browsers keep them: use \
                 OidcLayer::per_user with a store, and Retention::User"
            }
            Mode::SingleUser(_) => {
                "in single-user mode nobody has grants of their own: use BackgroundTokens::account, or \
                 OidcLayer::per_user"
            }
        }
    }

    /// The account that everybody uses, a request without any cookie too.
    pub(crate) fn account(&self) -> Option<&Account> {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => None,
            Mode::SingleUser(account) => Some(account),
        }
    }

    /// Whether a grant came from where the mode has grants from.
    pub(crate) fn counts(&self, grant: &Grant) -> bool {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => true,
            Mode::SingleUser(account) => account.is_origin(grant.origin),
        }
    }

    /// The grant that its owner has without anybody's doing.
    pub(crate) fn beginning(&self, connection: &Registered, client: [u8; 32]) -> Option<Grant> {
        match &self.0 {
            Mode::PerUser | Mode::Stateless(_) => None,
            Mode::SingleUser(account) => account.beginning(connection, client),
        }
    }
}

impl Holder {
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Session(session) => session.owner(),
            Self::Account(name) => Owner::Account { name: name.to_string() },
            Self::Visitor(visitor) => visitor.owner(),
            Self::Person { issuer, subject } => {
                Owner::User { issuer: issuer.to_string(), subject: subject.to_string() }
            }
        }
    }

    /// The provider that vouches for them, at which they have what comes without a connection; `None` when people do not
    /// sign in there any more.
    pub(crate) fn provider<'a>(&self, runtime: &'a Runtime) -> Option<&'a Arc<Provider>> {
        match self {
            Self::Session(session) => runtime.signed_in_at(session),
            Self::Account(_) | Self::Visitor(_) => Some(runtime.providers.get(ProviderId::FIRST)),
            Self::Person { issuer, .. } => runtime.providers.of_issuer(issuer),
        }
    }

    /// The session with which what is kept for it ends, and which must still last.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Session(session) => Some(session),
            Self::Account(_) | Self::Visitor(_) | Self::Person { .. } => None,
        }
    }

    /// The person who alone may grant it something.
    pub(crate) fn person(&self) -> Option<(&str, &str)> {
        match self {
            Self::Session(session) => Some((&session.issuer, &session.subject)),
            Self::Person { issuer, subject } => Some((issuer, subject)),
            Self::Account(_) | Self::Visitor(_) => None,
        }
    }

    /// Whether this may be granted to them at all.
    pub(crate) fn may_have(&self, connection: &Registered) -> bool {
        !matches!(self, Self::Visitor(_)) || connection.visitors
    }

    pub(crate) fn is_account(&self) -> bool {
        matches!(self, Self::Account(_))
    }

    /// Whether it is a person, and no browser of theirs.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Person { .. })
    }
}
