//! Why a login ended without a session, or a connection without a grant.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::login::unavailable;
use crate::page;
use crate::protocol::{JwtError, MalformedResponse};
use crate::provider::ProviderError;
use crate::stateless::TooLarge;
use crate::store::StoreError;
use crate::tokens::Unkept;

/// The answer to a callback, or why there is none.
pub(crate) type LoginAnswer = Result<Response<Bytes>, LoginError>;

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
    /// The names of both users, and the addresses of the page and of a login as the other.
    #[error("the account that granted access is not the user who is signed in")]
    AccountMismatch { user: String, other: String, back: String, login: String },
}

impl LoginError {
    /// Whether it says nothing of the person, or of this application: another try may have succeeded.
    pub(crate) fn is_of_this_try(&self) -> bool {
        matches!(self, Self::Denied(_)) || self.is_over()
    }

    /// The page for the user, with the address that tries once more.
    pub(super) fn page(&self, again: &str) -> Response<Bytes> {
        match self {
            Self::Store(_) => page::try_again("Sign-in is not possible at the moment.", again),
            Self::Deadline => unavailable(again),
            Self::Provider(error) if error.passes() => unavailable(again),
            Self::Denied(code) if matches!(&**code, "temporarily_unavailable" | "server_error") => unavailable(again),
            Self::AccountMismatch { other, back, login, .. } => {
                let links = [(&**back, "Go back"), (login, &format!("Sign out, and sign in as {other}"))];
                page::page(self.status(), "Another account granted access", &self.text(), &links)
            }
            _ => page::page(self.status(), "Sign-in failed", &self.text(), &[(again, "Try again")]),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::HostedDomain | Self::Vetoed(_) | Self::AccountMismatch { .. } => StatusCode::FORBIDDEN,
            Self::Denied(code) if code == "access_denied" => StatusCode::FORBIDDEN,
            _ if self.is_other_authentication() => StatusCode::FORBIDDEN,
            Self::Provider(ProviderError::Refused(_)) if self.is_over() => StatusCode::BAD_REQUEST,
            Self::Provider(ProviderError::Refused(_) | ProviderError::Malformed(_))
            | Self::NoRefreshToken
            | Self::TooLarge
            | Self::TooLargeToCarry(_) => StatusCode::BAD_GATEWAY,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// RFC 6749 section 5.2: a code that is over is the browser's; every other refusal is about this application.
    fn is_over(&self) -> bool {
        let Self::Provider(ProviderError::Refused(why)) = self else { return false };
        why.code.as_deref() == Some("invalid_grant")
    }

    /// The provider authenticated the user in another way than was asked for, or says that it cannot (OpenID Connect Core
    /// Error Code unmet_authentication_requirements 1.0).
    fn is_other_authentication(&self) -> bool {
        matches!(self, Self::Provider(ProviderError::Statement(_, JwtError::OtherAuthentication(_))))
            || matches!(self, Self::Denied(code) if code == "unmet_authentication_requirements")
    }

    fn text(&self) -> Cow<'_, str> {
        let text = match self {
            Self::Vetoed(why) => why,
            _ if self.is_other_authentication() => {
                "The sign-in service did not authenticate you in the way that this page needs."
            }
            Self::Denied(code) if code != "access_denied" => {
                return format!("The sign-in service reported an error: {code}.").into();
            }
            Self::TooLargeToCarry(too_large) => {
                return Cow::Owned(format!(
                    "This application cannot keep your sign-in in cookies: {too_large}. Its operator can request fewer \
                     scopes or smaller tokens, or use a store."
                ));
            }
            Self::Denied(_) => "Access was denied.",
            Self::Provider(_) if self.is_over() => "This sign-in took too long, or was completed already.",
            Self::Provider(ProviderError::Refused(_)) => "The sign-in service refused this application.",
            Self::Provider(ProviderError::Malformed(_)) => "The sign-in service sent an invalid response.",
            Self::Malformed(_) | Self::NotPending | Self::OtherHost(..) => {
                "This sign-in was not started in this browser, or was completed already."
            }
            Self::Expired | Self::Deadline => "This sign-in took too long.",
            Self::NoRefreshToken => {
                "The sign-in service does not let this application look again whether you may stay signed in."
            }
            Self::HostedDomain => "Your account does not belong to the required organisation.",
            Self::TooLarge => "Your profile is too large to store.",
            Self::Panicked | Self::Store(_) => "An internal error occurred.",
            Self::SignedOut | Self::EndedByProvider => "You were signed out while you were signing in.",
            Self::SessionOver => "You signed out, or signed in as another user, before access was granted.",
            Self::AccountMismatch { user, other, .. } => {
                return Cow::Owned(format!(
                    "You are signed in as {user}, and {other} granted access (AccountMismatch). It was not saved. To grant it \
                     as {user}, sign {other} out at the sign-in service first."
                ));
            }
            Self::Provider(_) | Self::NoIdToken => "The sign-in service's statement about you could not be verified.",
        };
        text.into()
    }

    /// Why the tokens of a callback that failed in this way are not kept.
    pub(crate) fn unkept(&self) -> Unkept {
        use ProviderError::{FetchUserInfo, Statement};
        let is_denied = matches!(self, Self::HostedDomain | Self::Vetoed(_) | Self::AccountMismatch { .. });
        let is_over = matches!(self, Self::NotPending | Self::OtherHost(..) | Self::SessionOver | Self::SignedOut);
        let is_unkept =
            matches!(self, Self::EndedByProvider | Self::TooLarge | Self::TooLargeToCarry(_) | Self::NoIdToken);
        let is_wrong = matches!(self, Self::Provider(Statement(..) | FetchUserInfo(_)));
        // Whatever else it is, no revocation takes anything away for it.
        if is_denied || is_over || is_unkept || is_wrong { Unkept::Refused } else { Unkept::Failed }
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
            AccountMismatch { user: "a".into(), other: "b".into(), back: "/".into(), login: "/".into() },
            NoIdToken,
            NotPending,
            SessionOver,
            EndedByProvider,
            SignedOut,
            TooLarge,
            Provider(ProviderError::Statement("ID token", JwtError::UnknownKey("kid".into()))),
            Provider(ProviderError::FetchUserInfo(UserInfoError::AnotherSubject)),
            Provider(ProviderError::Statement("UserInfo response", JwtError::UnknownKey("kid".into()))),
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
