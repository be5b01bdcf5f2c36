//! What went wrong, in words that are safe to print.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// Why something did not work, in words that hold nothing the server or the URL said.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    message: &'static str,
    code: Option<String>,
}

impl Failure {
    pub(super) const STRANGE: Self = Self::new("Redis answered something else than was asked");
    pub(super) const AWAY: Self = Self::new("Redis is away");
    pub(super) const EVICTS: Self = Self::new(
        "Redis may evict live records: set its maxmemory-policy to noeviction (or to a volatile one)",
    );

    const fn new(message: &'static str) -> Self {
        Self { message, code: None }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.code {
            Some(code) => Self::new(failure.message, code),
            None => Self::refused(failure.message),
        }
    }
}

/// The server's own words stay behind: it repeats a command that it does not know, and the first one of a
/// connection holds the password.
impl From<&RedisError> for Failure {
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
        Self { message, code: Some(code) }
    }
}
