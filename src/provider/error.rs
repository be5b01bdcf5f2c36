//! Why a provider is of no use at a moment.

use std::time::Duration;

use tower::BoxError;

use super::cached::BackingOff;
use super::http_client::never_connected;
use crate::protocol::{JwtError, ProviderRefusal, RefusalRemedy, UserInfoError};

/// Why this application cannot prove itself at a moment. Nothing was sent then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssertionError {
    #[error(
        "the client assertion file {0} {1}, expected one JWT, which the platform writes (client_assertion_file, \
         OIDC_CLIENT_ASSERTION_FILE)"
    )]
    File(String, String),
    #[error("no key signs the client assertion (private_keys, OIDC_PRIVATE_KEY_FILE)")]
    NoKey,
}

/// Why the provider was of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It may work in a moment. Whether the provider did what it was asked is not known.
    #[error("the provider is not available: {0}")]
    Unavailable(#[source] BoxError),
    /// It said that it cannot answer now, and did nothing.
    #[error("the provider cannot answer now: {0}")]
    Busy(ProviderRefusal),
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    #[error("the provider refused: {0}")]
    Refused(ProviderRefusal),
    #[error("the provider's answer is malformed: {0}")]
    Malformed(&'static str),
    /// A statement about a person, by its name, does not hold.
    #[error("the {0} {1}")]
    Statement(&'static str, JwtError),
    #[error(transparent)]
    FetchUserInfo(#[from] UserInfoError),
}

impl ProviderError {
    pub(crate) fn unavailable(why: impl Into<BoxError>) -> Self {
        Self::Unavailable(why.into())
    }

    /// Whether trying again later may help, and nothing was said about the person.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_) | Self::Assertion(_))
    }

    /// Whether the provider is away, with how long it asks to be left alone.
    pub(crate) fn away(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(_) => Some(Duration::ZERO),
            Self::Busy(refusal) => Some(refusal.retry_after.unwrap_or_default()),
            _ => None,
        }
    }

    /// Whether a code that was sent is certainly not spent: it was refused, or nobody looked at it.
    pub(crate) fn has_spent_nothing(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Assertion(_) => true,
            Self::Busy(refusal) => matches!(refusal.status, 429 | 503),
            Self::Unavailable(why) => never_connected(&**why),
            _ => false,
        }
    }

    /// OpenID Connect Core 1.0 section 12.2: what came with a refresh is another person's.
    pub(crate) fn names_another_owner(&self) -> bool {
        matches!(self, Self::Statement(_, JwtError::AnotherOwner(_)))
    }
}

impl From<BackingOff> for ProviderError {
    fn from(_: BackingOff) -> Self {
        Self::unavailable("it failed a moment ago")
    }
}

impl From<ProviderRefusal> for ProviderError {
    fn from(refusal: ProviderRefusal) -> Self {
        let is_later = refusal.remedy() == RefusalRemedy::Later;
        if is_later { Self::Busy(refusal) } else { Self::Refused(refusal) }
    }
}
