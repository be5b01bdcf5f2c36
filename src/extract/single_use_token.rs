//! A single-use token, as handlers get it.

use std::sync::Arc;

use http::Extensions;

use super::access_token::AccessToken;
use super::request::RequestState;
use super::user_tokens::UserTokens;
use crate::config::resources::parse;
use crate::error::{Error, ErrorKind};
use crate::secret::opaque;
use crate::state::Runtime;
use crate::tokens::{Principal, SingleUseRecord, disconnect};

/// The token of a connection that was granted for one use, at the address of
/// [`UserTokens::connect_single_use_url`](crate::UserTokens::connect_single_use_url).
///
/// It is an axum extractor ([`SingleUseToken::from_extensions`] for other services). The first request that extracts
/// it within a minute, in the session in which it was granted, gets it; no other request does. If the page is loaded
/// again, the error is [`ErrorKind::SingleUseTokenGone`](crate::ErrorKind::SingleUseTokenGone), unless another token
/// is waiting.
///
/// If several are waiting, granted in several tabs, a request gets the one whose destination is its own address, with
/// the query, or the page in its `Referer`. A request that is no destination of a token gets the oldest. At most four
/// wait in a browser, and another one replaces the oldest. With `form_post`, whose callbacks carry no such cookies,
/// all that were granted within the minute wait.
///
/// Until then the tokens are stored sealed; the cookie holds only a random id. Tokens that are not collected within a
/// minute are deleted by the process that stored them. If that process has ended, or the store is unavailable at that
/// moment, they are deleted with other expired records: at a login, or by
/// [`OidcLayer::delete_expired`](crate::OidcLayer::delete_expired). The tokens in this value are wiped when it is
/// dropped. At the provider they end when they expire, or by [`SingleUseToken::revoke`].
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
    /// Takes the token for a request that passed the layer, from its extensions, for services without axum.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SingleUseTokenGone`](crate::ErrorKind::SingleUseTokenGone) if no token is waiting, or no longer;
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) if neither a user nor a visitor can own one;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is unavailable: the token then stays;
    /// [`ErrorKind::MissingLayer`](crate::ErrorKind::MissingLayer) if the request did not pass the layer.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::take(RequestState::of(extensions)?).await
    }

    pub(crate) async fn take(state: &RequestState) -> Result<Self, Error> {
        let tokens = UserTokens::from_state(state)?;
        let principal = tokens.principal.clone();
        let runtime = Arc::clone(&state.runtime);
        let Some(single_uses) = state.head.single_uses() else { return Err(gone()) };
        // Before it is taken and after: a request that a logout overtook gets nothing of it.
        tokens.require_session().await?;
        let record = single_uses.take(&runtime, &principal, state.here.as_ref()).await?;
        tokens.require_session().await?;
        let record = record.ok_or_else(gone)?;
        let access_token = AccessToken(record.access_token.clone());
        Ok(Self { runtime, principal, record, access_token })
    }

    /// The name of the connection that was granted.
    pub fn connection(&self) -> &str {
        &self.record.connection
    }

    /// The granted scopes, which may be fewer than the requested ones.
    pub fn scopes(&self) -> &[String] {
        &self.record.scopes
    }

    /// The access token, for a URL that a resource of its connection covers. The caller is responsible for its
    /// destination.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`](crate::ErrorKind::NoTokenForUrl) for any other URL.
    pub fn access_token(&self, url: &str) -> Result<&AccessToken, Error> {
        let connections = self.runtime.connections_of(&self.principal);
        let covering = |url| connections?.resources.covering(&url);
        let covering = parse(url).and_then(covering);
        if covering.is_some_and(|source| source.connection == self.connection()) {
            Ok(&self.access_token)
        } else {
            Err(Error::no_token_for_url())
        }
    }

    /// Asks the provider to revoke the tokens (RFC 7009), if it supports revocation. Best effort: tokens that are not
    /// revoked expire.
    pub async fn revoke(self) {
        let Self { runtime, principal, record, .. } = self;
        let Some(connection) = runtime.connection_of(&principal, &record.connection) else { return };
        let provider = Arc::clone(runtime.providers.get(connection.provider));
        // In a task of its own: a browser that goes away does not keep it alive.
        let revoking = runtime.tasks.spawn(async move {
            disconnect::revoke(&provider, record.refresh_token.as_ref(), Some(&record.access_token)).await
        });
        let _ = revoking.await;
    }
}

/// The error of a token that has been used, or was not used in time. The user grants access again for another one.
fn gone() -> Error {
    let text = "what was granted for one use has been used, or was not used in time: go back, and grant it again";
    Error::new(ErrorKind::SingleUseTokenGone, text)
}

opaque!(SingleUseToken, |token| connection = token.connection());
