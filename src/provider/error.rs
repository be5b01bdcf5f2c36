//! Why a provider is of no use at a moment.

use tower::BoxError;

use super::cached::BackingOff;
use super::http_client::OutboundError;
use crate::protocol::id_token::IdTokenError;
use crate::protocol::logout_token::LogoutTokenError;
use crate::protocol::metadata::MetadataError;
use crate::protocol::refusal::{ProviderRefusal, RefusalRemedy};
use crate::protocol::user_info::UserInfoError;

/// Why the provider was of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It may work in a moment. Whether the provider did what it was asked is not known.
    #[error("the provider is not available: {0}")]
    Unavailable(#[source] BoxError),
    /// It said that it cannot answer now, and did nothing.
    #[error("the provider cannot answer now: {0}")]
    Busy(ProviderRefusal),
    #[error("the provider refused: {0}")]
    Refused(ProviderRefusal),
    #[error("the provider's answer is malformed: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    #[error(transparent)]
    LogoutToken(#[from] LogoutTokenError),
    #[error(transparent)]
    FetchUserInfo(#[from] UserInfoError),
}

impl ProviderError {
    /// Whether trying again later may help, and nothing was said about the person.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_))
    }

    /// OpenID Connect Core 1.0 section 5.3.4: UserInfo that names nobody, or somebody else.
    pub(crate) fn is_about_somebody_else(&self) -> bool {
        matches!(self, Self::FetchUserInfo(UserInfoError::AnotherSubject))
    }

    /// Whether a token is signed with a key that the provider may have published a moment ago.
    pub(crate) fn is_unknown_key(&self) -> bool {
        use {IdTokenError as Id, LogoutTokenError as Logout};
        matches!(self, Self::IdToken(Id::UnknownKey(_)) | Self::LogoutToken(Logout::UnknownKey(_)))
    }
}

impl From<BackingOff> for ProviderError {
    fn from(_: BackingOff) -> Self {
        Self::Unavailable("it failed a moment ago".into())
    }
}

impl From<OutboundError> for ProviderError {
    fn from(error: OutboundError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<MetadataError> for ProviderError {
    fn from(error: MetadataError) -> Self {
        // Wrong metadata is a provider that cannot be used now: it may be mended without a restart here.
        Self::Unavailable(Box::new(error))
    }
}

impl From<ProviderRefusal> for ProviderError {
    fn from(refusal: ProviderRefusal) -> Self {
        match refusal.remedy() {
            RefusalRemedy::Later => Self::Busy(refusal),
            RefusalRemedy::Person | RefusalRemedy::Operator | RefusalRemedy::Unclear => {
                Self::Refused(refusal)
            }
        }
    }
}
