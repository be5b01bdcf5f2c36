//! A token for one use, as a handler gets it.

use std::fmt;
use std::sync::Arc;

use http::Extensions;

use super::access_token::AccessToken;
use super::request::RequestState;
use crate::config::resources::parse;
use crate::error::Error;
use crate::protocol::token::TokenResponse;
use crate::state::Runtime;
use crate::tokens::principal::Principal;
use crate::tokens::single_use::SingleUseRecord;
use crate::tokens::unkept::{Unkept, discard};

/// What a person granted for one use, at the address of
/// [`UserTokens::connect_single_use_url`](crate::UserTokens::connect_single_use_url).
///
/// An axum extractor, and [`SingleUseToken::from_extensions`] for other services: the first request that asks within a
/// minute has it, of the session in which it was granted, and nobody ever again. A page that is loaded once more gets
/// [`ErrorKind::SingleUseTokenGone`](crate::ErrorKind::SingleUseTokenGone), unless something else waits.
///
/// Where several wait, granted in several tabs, a request has the one that was to land at its own address, query
/// included, or at the page that it comes from (`Referer`). Only a request that none was to land at has the oldest of
/// all. At most four wait in a browser, and the next one takes the place of the oldest; with `form_post`, whose callbacks
/// come without these cookies, as many as were granted within the minute.
///
/// Until then the tokens lie sealed in the store; a cookie that names them tells nothing of them. What nobody asked for
/// is handed to nobody after a minute, and the process that laid it there deletes it then. Should that process have
/// ended, or the store be away at that moment, it goes with what else has expired: with a login, or by
/// [`OidcLayer::delete_expired`](crate::OidcLayer::delete_expired). Here they are gone when this value is dropped; at
/// the provider when they expire, or by [`SingleUseToken::revoke`].
///
/// ```
/// use tower_oidc::{Error, SingleUseToken};
///
/// # async fn pay(_: &str) {}
/// async fn payment(token: SingleUseToken) -> Result<&'static str, Error> {
///     pay(token.access_token("https://bank.example/payments/")?.expose_secret()).await;
///     token.revoke().await;
///     Ok("paid")
/// }
/// ```
pub struct SingleUseToken {
    runtime: Arc<Runtime>,
    principal: Principal,
    record: SingleUseRecord,
    access_token: AccessToken,
}

impl SingleUseToken {
    /// For services without axum: from the extensions of a request that came through the layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SingleUseTokenGone`](crate::ErrorKind::SingleUseTokenGone) when there is nothing, or no longer;
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) when nobody is signed in whose it could be;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is away, which takes nothing;
    /// [`ErrorKind::MissingLayer`](crate::ErrorKind::MissingLayer) when the request did not come through the layer.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::take(RequestState::of(extensions)?).await
    }

    pub(crate) async fn take(state: &RequestState) -> Result<Self, Error> {
        let principal = state.principal().ok_or_else(|| state.unauthenticated())?;
        let runtime = Arc::clone(&state.runtime);
        let Some(single_uses) = &state.head.single_uses else { return Err(state.single_use_token_gone()) };
        let record = single_uses.take(&runtime, &principal, state.here.as_ref()).await?;
        let record = record.ok_or_else(|| state.single_use_token_gone())?;
        let access_token = AccessToken::new(record.access_token.clone());
        Ok(Self { runtime, principal, record, access_token })
    }

    /// The connection that was granted.
    pub fn connection(&self) -> &str {
        &self.record.connection
    }

    /// What was granted, which may be less than was asked for.
    pub fn scopes(&self) -> &[String] {
        &self.record.scopes
    }

    /// The token, for a URL that a resource of its connection covers. Whoever takes it out answers for where it goes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`](crate::ErrorKind::NoTokenForUrl) for any other.
    pub fn access_token(&self, url: &str) -> Result<&AccessToken, Error> {
        let connections = self.runtime.connections_of(&self.principal);
        let covering = |url| connections?.resources().covering(&url);
        let covering = parse(url).and_then(covering);
        if covering.is_some_and(|source| source.connection == self.connection()) {
            Ok(&self.access_token)
        } else {
            Err(Error::no_token_for_url())
        }
    }

    /// Has the provider end it (RFC 7009), where it offers that. Best effort: what is not revoked expires.
    pub async fn revoke(self) {
        let Self { runtime, principal, record, .. } = self;
        let connections = runtime.connections_of(&principal);
        let Some(connection) = connections.and_then(|all| all.named(&record.connection)) else { return };
        let provider = Arc::clone(runtime.providers.get(connection.provider));
        let tokens = TokenResponse {
            access_token: record.access_token,
            refresh_token: record.refresh_token,
            expires_in: None,
            id_token: None,
            scopes: None,
        };
        let revoking = {
            let runtime = Arc::clone(&runtime);
            async move { discard(&runtime, &provider, &tokens, None, Unkept::TakenBack).await }
        };
        // In a task of its own: a browser that goes away does not keep it alive.
        let _ = runtime.tasks.spawn(revoking).await;
    }
}

impl fmt::Debug for SingleUseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleUseToken").field("connection", &self.connection()).finish_non_exhaustive()
    }
}
