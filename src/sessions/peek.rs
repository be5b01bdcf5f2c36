//! What a look at a cookie says of its session, before a store is asked.

use super::session::Session;
use super::session_id::SessionId;
use crate::sessions::Arc;

/// What this process knows of a session without asking the store.
pub(crate) enum Peek {
    Live(Arc<Session>),
    Ended,
    /// It is new here, or was not confirmed for too long.
    Ask(Asked),
}

/// What the store is asked about.
pub(crate) enum Asked {
    /// A session that it keeps, if it does.
    Kept(SessionId),
    /// One that the browser keeps, and that may have ended all the same.
    Carried(Arc<Session>),
}
