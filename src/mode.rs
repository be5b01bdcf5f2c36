//! The modes, which answer one question: whose tokens are a request's? Nothing else knows which mode it is.

use std::sync::Arc;

use crate::error::Error;
use crate::grant::Owner;
use crate::request_state::RequestState;
use crate::session::Session;

/// Whose tokens requests get. The layer's constructors choose it.
#[derive(Clone, Debug)]
pub(crate) struct Ownership(Mode);

#[derive(Clone, Debug)]
enum Mode {
    PerUser,
    Stateless { rendezvous: Rendezvous },
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
}

impl Ownership {
    /// Each person has their own.
    pub(crate) fn per_user() -> Self {
        Self(Mode::PerUser)
    }

    /// The same, and their browsers carry them.
    pub(crate) fn stateless(rendezvous: Rendezvous) -> Self {
        Self(Mode::Stateless { rendezvous })
    }

    /// Where processes meet, if sessions and grants are kept by browsers.
    pub(crate) fn rendezvous(&self) -> Option<Rendezvous> {
        match self.0 {
            Mode::PerUser => None,
            Mode::Stateless { rendezvous } => Some(rendezvous),
        }
    }

    /// The holder of a request's tokens, or the error that says who must act.
    pub(crate) fn holder(&self, request: &RequestState) -> Result<Holder, Error> {
        match self.0 {
            Mode::PerUser | Mode::Stateless { .. } => match &request.session {
                Some(session) => Ok(Holder::Session(Arc::clone(session))),
                None => Err(request.unauthenticated()),
            },
        }
    }
}

impl Holder {
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Session(session) => session.owner(),
        }
    }

    /// The session with which what is kept for it ends, and which must still last.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Session(session) => Some(session),
        }
    }
}
