//! What went wrong, in words that are safe to print.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::{StoreError, StoreErrorKind};

/// Why something did not work, in words that hold nothing the server or the URL said.
#[derive(Clone, Debug)]
pub(super) struct RedisFailure {
    kind: StoreErrorKind,
    message: &'static str,
    pub(super) code: Option<String>,
}

impl RedisFailure {
    pub(super) const STRANGE: Self = Self::new(StoreErrorKind::OutcomeUnknown, "unexpected reply from Redis");
    pub(super) const UNANSWERED: Self =
        Self::new(StoreErrorKind::OutcomeUnknown, "an answer of Redis was lost");
    pub(super) const AWAY: Self = Self::new(StoreErrorKind::Unavailable, "Redis is away");
    /// It may be a master again, or its name lead to one: it is asked as often as a server that is away.
    pub(super) const REPLICA: Self = Self::new(
        StoreErrorKind::Unavailable,
        "this Redis is a replica, which may not know yet what was ended: use the address of its master",
    );
    pub(super) const EVICTS: Self = Self::new(
        StoreErrorKind::Refused,
        "Redis may evict live records: set its maxmemory-policy to noeviction (or to a volatile one)",
    );

    const fn new(kind: StoreErrorKind, message: &'static str) -> Self {
        Self { kind, message, code: None }
    }

    /// Before anything was sent that writes.
    pub(super) fn while_connecting(error: &RedisError) -> Self {
        let failure = Self::from(error);
        match failure.kind {
            StoreErrorKind::OutcomeUnknown => Self { kind: StoreErrorKind::Unavailable, ..failure },
            StoreErrorKind::Unavailable | StoreErrorKind::Refused => failure,
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
        let message = match error.kind() {
            _ if error.is_timeout() => "Redis did not answer in time",
            ErrorKind::Io => "Redis is away",
            ErrorKind::AuthenticationFailed => "Redis refuses the user or password",
            ErrorKind::Server(ServerErrorKind::BusyLoading) => "Redis is loading its data",
            ErrorKind::Server(ServerErrorKind::ReadOnly) => {
                "this Redis is a replica, which cannot be written to"
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => "Redis does not let this user do what is needed",
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
                "this Redis is a node of a cluster, which is not supported"
            }
            ErrorKind::RESP3NotSupported => "this Redis does not speak RESP3: it is older than version 6",
            ErrorKind::InvalidClientConfig => "the URL of Redis is not one",
            _ => match error.code() {
                Some("OOM") => "Redis is full",
                Some("WRONGPASS" | "NOAUTH") => "Redis refuses the user or password",
                Some("MISCONF") => "Redis cannot persist what is written, and takes nothing",
                _ => "Redis failed",
            },
        };
        let code = error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
        let kind = match error.kind() {
            // No answer came to what may have been done.
            ErrorKind::Io | ErrorKind::Parse => StoreErrorKind::OutcomeUnknown,
            ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::Moved | ServerErrorKind::Ask)
            | ErrorKind::RESP3NotSupported
            | ErrorKind::InvalidClientConfig => StoreErrorKind::Refused,
            _ => StoreErrorKind::Unavailable,
        };
        Self { kind, message, code: Some(code) }
    }
}
