//! What went wrong, in words that are safe to print.

use redis::ServerErrorKind::{Ask, BusyLoading, Moved, NoPerm, ReadOnly};
use redis::{ErrorKind, RedisError};

use crate::store::StoreErrorKind::{OutcomeUnknown, Refused, Unavailable};
use crate::store::{StoreError, StoreErrorKind};

/// Why something did not work, in words that hold nothing the server or the URL said.
#[derive(Clone, Debug)]
pub(super) struct RedisFailure {
    kind: StoreErrorKind,
    message: &'static str,
    pub(super) code: Option<String>,
}

impl RedisFailure {
    pub(super) const STRANGE: Self = Self::new(OutcomeUnknown, "unexpected reply from Redis");
    pub(super) const UNANSWERED: Self = Self::new(OutcomeUnknown, "an answer of Redis was lost");
    pub(super) const AWAY: Self = Self::new(Unavailable, "Redis is away");
    /// It may be a master again, or its name lead to one: it is asked as often as a server that is away.
    pub(super) const REPLICA: Self = Self::new(
        Unavailable,
        "this Redis is a replica, which may not know yet what was ended: use the address of its master",
    );
    pub(super) const EVICTS: Self = Self::new(
        Refused,
        "Redis may evict live records: set its maxmemory-policy to noeviction (or to a volatile one)",
    );

    const fn new(kind: StoreErrorKind, message: &'static str) -> Self {
        Self { kind, message, code: None }
    }

    /// Before anything was sent that writes.
    pub(super) fn while_connecting(error: &RedisError) -> Self {
        let failure = Self::from(error);
        match failure.kind {
            OutcomeUnknown => Self { kind: Unavailable, ..failure },
            Unavailable | Refused => failure,
        }
    }
}

impl From<RedisFailure> for StoreError {
    fn from(failure: RedisFailure) -> Self {
        Self { kind: failure.kind, message: failure.message, source: failure.code.map(Into::into) }
    }
}

/// The server's own words stay behind: it repeats a command that it does not know, and the first one of a
/// connection holds the password.
impl From<&RedisError> for RedisFailure {
    fn from(error: &RedisError) -> Self {
        let (kind, message) = match error.kind() {
            // No answer came to what may have been done.
            ErrorKind::Io if error.is_timeout() => (OutcomeUnknown, "Redis did not answer in time"),
            ErrorKind::Io => (OutcomeUnknown, "Redis is away"),
            ErrorKind::Parse => (OutcomeUnknown, "Redis failed"),
            ErrorKind::AuthenticationFailed => (Unavailable, "Redis refuses the user or password"),
            ErrorKind::Server(BusyLoading) => (Unavailable, "Redis is loading its data"),
            ErrorKind::Server(ReadOnly) => (Unavailable, "this Redis is a replica, which cannot be written to"),
            ErrorKind::Server(NoPerm) => (Refused, "Redis does not let this user do what is needed"),
            ErrorKind::Server(Moved | Ask) => (Refused, "this Redis is a node of a cluster, which is not supported"),
            ErrorKind::RESP3NotSupported => (Refused, "this Redis does not speak RESP3: it is older than version 6"),
            ErrorKind::InvalidClientConfig => (Refused, "the URL of Redis, or its client, cannot be used"),
            _ => match error.code() {
                Some("OOM") => (Unavailable, "Redis is full"),
                Some("WRONGPASS" | "NOAUTH") => (Unavailable, "Redis refuses the user or password"),
                Some("MISCONF") => (Unavailable, "Redis cannot persist what is written, and takes nothing"),
                _ => (Unavailable, "Redis failed"),
            },
        };
        let code = error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
        Self { kind, message, code: Some(code) }
    }
}
