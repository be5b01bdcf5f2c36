//! Why a login ended without a session, or a connection without a grant.

use crate::protocol::authorization::MalformedResponse;
use crate::provider::error::ProviderError;
use crate::stateless::TooLarge;
use crate::store::StoreError;
use crate::tokens::discard::Unkept;

/// One cause each; the callback makes a page of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error(transparent)]
    Malformed(#[from] MalformedResponse),
    #[error("this browser has no pending login with this state: it is over, or began outside of PUBLIC_URL")]
    NotPending,
    #[error("no pending login with this state: it is at {0}, and public_url is {1}")]
    OtherHost(String, String),
    #[error("the login took longer than login_lifetime")]
    Expired,
    #[error("the provider returned the error {0}")]
    Denied(String),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the callback took longer than its time limit")]
    Deadline,
    #[error("the token response has no ID token")]
    NoIdToken,
    #[error("the ID token's `hd` is not the configured hosted_domain")]
    HostedDomain,
    #[error("the login hook denied the login: {0}")]
    Vetoed(String),
    #[error("the claims are too large: ask for fewer scopes, or have the provider send less")]
    TooLarge,
    #[error(
        "{0}: ask for fewer scopes, have the provider issue smaller tokens, raise max_cookie_bytes and what proxies take, \
         or keep them in a store (OidcLayer::per_user)"
    )]
    TooLargeToCarry(TooLarge),
    #[error(
        "the provider issued no refresh token, which revalidate_every needs: ask for the scope offline_access, or unset \
         revalidate_every (SESSION_REVALIDATE_EVERY)"
    )]
    NoRefreshToken,
    #[error("the login hook panicked")]
    Panicked,
    #[error("the provider signed the user out during the login")]
    SignedOut,
    #[error("the session in which the connection was started is over")]
    SessionOver,
    /// The login is begun again.
    #[error("the provider signed the user out before access was granted")]
    EndedByProvider,
    #[error("the account that granted access is not the user who is signed in")]
    AccountMismatch,
}

impl LoginError {
    /// Whether it says nothing of the person, or of this application: another try may have succeeded.
    pub(crate) fn is_of_this_try(&self) -> bool {
        match self {
            Self::Denied(_) => true,
            Self::Provider(ProviderError::Refused(why)) => why.code.as_deref() == Some("invalid_grant"),
            _ => false,
        }
    }

    /// Why the tokens of a callback that failed in this way are not kept.
    pub(crate) fn unkept(&self) -> Unkept {
        match self {
            Self::HostedDomain
            | Self::Vetoed(_)
            | Self::AccountMismatch
            | Self::NoIdToken
            | Self::NotPending
            | Self::OtherHost(..)
            | Self::SessionOver
            | Self::EndedByProvider
            | Self::SignedOut
            | Self::TooLarge
            | Self::TooLargeToCarry(_)
            | Self::Provider(
                ProviderError::IdToken(_) | ProviderError::Identity(_) | ProviderError::FetchUserInfo(_),
            ) => Unkept::Refused,
            Self::Malformed(_)
            | Self::Expired
            | Self::Denied(_)
            | Self::Provider(_)
            | Self::Store(_)
            | Self::Deadline
            | Self::NoRefreshToken
            | Self::Panicked => Unkept::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::authorization::MalformedResponse;
    use crate::protocol::jws::JwtError;
    use crate::protocol::refusal::ProviderRefusal;
    use crate::protocol::user_info::UserInfoError;
    use crate::store::StoreError;

    fn refusal(status: u16) -> ProviderError {
        ProviderRefusal::new("https://op.test/token".into(), status, None, None).into()
    }

    /// What may work in a moment says nothing against the tokens.
    #[test]
    fn what_passes_is_told_from_what_is_refused() {
        use LoginError::*;
        let refused = [
            HostedDomain,
            Vetoed("no".into()),
            AccountMismatch,
            NoIdToken,
            NotPending,
            SessionOver,
            EndedByProvider,
            SignedOut,
            TooLarge,
            Provider(ProviderError::IdToken(JwtError::UnknownKey("kid".into()))),
            Provider(ProviderError::FetchUserInfo(UserInfoError::AnotherSubject)),
        ];
        for failure in refused {
            assert_eq!(failure.unkept(), Unkept::Refused, "{failure}");
        }
        let passes = [
            Malformed(MalformedResponse("x")),
            Expired,
            Denied("access_denied".into()),
            Provider(refusal(400)),
            Provider(ProviderError::Malformed("x")),
            Provider(ProviderError::Unavailable("x".into())),
            Provider(refusal(503)),
            Store(StoreError::refused("x")),
            Deadline,
            NoRefreshToken,
            Panicked,
        ];
        for failure in passes {
            assert_eq!(failure.unkept(), Unkept::Failed, "{failure}");
        }
    }
}
