//! The modes, which answer one question: whose tokens are a request's? Nothing else knows which mode it is.

use std::sync::Arc;

use crate::error::Error;
use crate::grant::Owner;
use crate::request_state::RequestState;
use crate::session::Session;
use crate::session_id::SessionId;

/// Whose tokens requests get. The layer's constructors choose it.
#[derive(Clone, Debug)]
pub(crate) struct Ownership(Mode);

#[derive(Clone, Debug)]
enum Mode {
    PerUser,
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

    /// The holder of a request's tokens, or the error that says who must act.
    pub(crate) fn holder(&self, request: &RequestState) -> Result<Holder, Error> {
        match self.0 {
            Mode::PerUser => match &request.session {
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
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(session) => Some(session.id),
        }
    }
}
