//! Whom the tokens of a request belong to.

use crate::config::{CheckedConnection, Mode};
use crate::protocol::OriginalIdToken;
use crate::provider::{Provider, ProviderId};
use crate::records::Owner;
use crate::sessions::{Session, Visitor};
use crate::state::Runtime;
use crate::tokens::Arc;

/// Whom the tokens of one request belong to.
#[derive(Clone)]
pub(crate) enum Principal {
    /// The person of this session, as long as it lasts.
    Session(Arc<Session>),
    /// The account of this name, whoever asks.
    Account(Arc<str>),
    /// A browser in which nobody is signed in.
    Visitor(Visitor),
    /// Somebody who need not be there: work in the background asks, and no request.
    Offline { issuer: Arc<str>, subject: Arc<str> },
}

impl Principal {
    /// For whom the person of a session grants connections and takes them back.
    pub(crate) fn granted_by(session: &Arc<Session>, mode: &Mode) -> Self {
        match mode.account() {
            Some(account) => Self::Account(Arc::clone(&account.name)),
            None => Self::Session(Arc::clone(session)),
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Session(session) => session.owner(),
            Self::Account(name) => Owner::Account { name: name.to_string() },
            Self::Visitor(visitor) => visitor.owner(),
            Self::Offline { issuer, subject } => {
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
            Self::Offline { issuer, .. } => runtime.providers.of_issuer(issuer),
        }
    }

    /// The session with which what is kept for it ends, and which must still last.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        if let Self::Session(session) = self { Some(session) } else { None }
    }

    /// Whether this may be granted to them at all.
    pub(crate) fn may_have(&self, connection: &CheckedConnection) -> bool {
        !matches!(self, Self::Visitor(_)) || connection.visitors
    }

    /// Whether it is a person, and no browser of theirs.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Offline { .. })
    }
}

/// Whether what a provider says is about another account there than this person's. Where they did not sign in, they link
/// whichever account they have.
pub(crate) fn is_another(person: Option<(&str, &str)>, provider: &Provider, facts: &OriginalIdToken) -> bool {
    let differs = |person: (&str, &str)| person != (&facts.issuer, &facts.subject);
    person.is_some_and(|person| provider.relying_party.issuer.covers(person.0) && differs(person))
}
