//! Extractors and responses for axum.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::auth_session::AuthSession;
use super::current_user::{Admin, CurrentUser};
use super::request::RequestState;
use super::single_use_token::SingleUseToken;
use super::user_tokens::UserTokens;
use crate::error::{DestinationError, Error};

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        RequestState::of(&parts.extensions)?.require_user()
    }
}

/// `None` if no user is signed in. A missing layer is an error nevertheless.
impl<S: Sync> OptionalFromRequestParts<S> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        RequestState::of(&parts.extensions).map(RequestState::user)
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        RequestState::of(&parts.extensions)?.require_admin()
    }
}

/// `None` when nobody is signed in. Somebody who is signed in and no admin gets 403 all the same: a page for both asks
/// [`CurrentUser::is_admin`].
impl<S: Sync> OptionalFromRequestParts<S> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        let state = RequestState::of(&parts.extensions)?;
        state.user().map(|_| state.require_admin()).transpose()
    }
}

impl<S: Sync> FromRequestParts<S> for UserTokens {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        UserTokens::from_state(RequestState::of(&parts.extensions)?)
    }
}

/// `None` when nobody is signed in; never in single-user mode, and never where
/// [visitors](crate::Connection::allow_visitors) have tokens of their own. A layer that is missing is an error all the same.
impl<S: Sync> OptionalFromRequestParts<S> for UserTokens {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        RequestState::of(&parts.extensions).map(UserTokens::if_any)
    }
}

impl<S: Sync> FromRequestParts<S> for AuthSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        RequestState::of(&parts.extensions).map(AuthSession::from_state)
    }
}

impl<S: Sync> FromRequestParts<S> for SingleUseToken {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        SingleUseToken::from_extensions(&parts.extensions).await
    }
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
