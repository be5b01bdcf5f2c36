//! What a look at a cookie says of its session, before a store is asked.

use super::session::Session;
use super::session_id::SessionId;
use crate::sessions::Arc;
use crate::store::StoreError;

/// The session that lasts, if one does, from this process or the store.
pub(crate) type SessionFound = Result<Option<Arc<Session>>, StoreError>;

/// What this process knows of a session without asking the store.
pub(crate) enum SessionLookup {
    Hit(Arc<Session>),
    Ended,
    /// It is new here, or was not confirmed for too long.
    Miss(SessionQuery),
}

/// What the store is asked about.
pub(crate) enum SessionQuery {
    /// A session that it keeps, if it does.
    ById(SessionId),
    /// One that the browser keeps, and that may have ended all the same.
    ByCookie(Arc<Session>),
}
