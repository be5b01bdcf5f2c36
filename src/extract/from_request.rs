//! Extractors and responses for axum.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::auth_session::AuthSession;
use super::current_client::CurrentClient;
use super::current_user::{Admin, CurrentUser};
use super::request::RequestState;
use super::single_use_token::SingleUseToken;
use super::user_tokens::UserTokens;
use crate::error::{DestinationError, Error};

/// Makes extractors of what the layer has left in a request.
macro_rules! extractors {
    ($($(#[$doc:meta])* $trait:ident for $type:ty: |$state:ident| $extract:expr => $extracted:ty;)*) => {$(
        $(#[$doc])*
        impl<S: Sync> $trait<S> for $type {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<$extracted, Error> {
                let $state = RequestState::of(&parts.extensions)?;
                $extract
            }
        }
    )*};
}

extractors! {
    FromRequestParts for CurrentUser: |state| state.require_user() => Self;
    /// `None` if no user is signed in. A missing layer is an error nevertheless.
    OptionalFromRequestParts for CurrentUser: |state| Ok(state.user()) => Option<Self>;
    FromRequestParts for CurrentClient: |state| CurrentClient::of(state).ok_or_else(|| state.unauthenticated()) => Self;
    OptionalFromRequestParts for CurrentClient: |state| Ok(CurrentClient::of(state)) => Option<Self>;
    FromRequestParts for Admin: |state| state.require_admin() => Self;
    /// `None` when nobody is signed in. Somebody who is signed in and no admin gets 403 all the same: a page for both asks
    /// [`CurrentUser::is_admin`].
    OptionalFromRequestParts for Admin: |state| state.user().map(|_| state.require_admin()).transpose() => Option<Self>;
    FromRequestParts for UserTokens: |state| UserTokens::from_state(state) => Self;
    /// `None` when nobody is signed in; never in single-user mode, and never where
    /// [visitors](crate::Connection::allow_visitors) have tokens of their own. A layer that is missing is an error all the same.
    OptionalFromRequestParts for UserTokens: |state| Ok(UserTokens::if_any(state)) => Option<Self>;
    FromRequestParts for AuthSession: |state| Ok(AuthSession(state.clone())) => Self;
    FromRequestParts for SingleUseToken: |state| SingleUseToken::take(state).await => Self;
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Error::into_response(self)
    }
}

impl IntoResponse for DestinationError {
    fn into_response(self) -> Response {
        Error::from(self).into_response()
    }
}
