//! Tokens for one use: handed to one request, and kept nowhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Extensions, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::cookie::{CookieStyle, CrossSite};
use crate::error::Error;
use crate::flow::sign_in::revoke;
use crate::grant::encode;
use crate::mode::Holder;
use crate::protocol::token::TokenResponse;
use crate::records::Row;
use crate::request_state::RequestState;
use crate::resource;
use crate::runtime::Runtime;
use crate::seal::Purpose;
use crate::secret::{Secret, sealed, sealed_option};
use crate::store::{Key, StoreError};
use crate::user_tokens::AccessToken;

/// How long tokens wait for the request that uses them: the browser's way from the provider to the page.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// What a person granted for one use, at the address of
/// [`UserTokens::connect_once_url`](crate::UserTokens::connect_once_url).
///
/// An axum extractor, and [`OneShotToken::from_extensions`] for other services: the first request that asks within a
/// minute has it, of the session in which it was granted, and nobody ever again. A page that is loaded once more gets
/// [`ErrorKind::OneShotMissing`](crate::ErrorKind::OneShotMissing).
///
/// Until then the tokens lie sealed in the store, for a minute at the most; a cookie that names them tells nothing of
/// them. Here they are gone when this value is dropped; at the provider when they expire, or by
/// [`OneShotToken::revoke`].
pub struct OneShotToken {
    runtime: Arc<Runtime>,
    holder: Holder,
    record: OneShotRecord,
    access_token: AccessToken,
}

/// What waits in the store.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OneShotRecord {
    connection: String,
    scopes: Vec<String>,
    #[serde(with = "sealed")]
    access_token: Secret,
    /// To be revoked with.
    #[serde(with = "sealed_option")]
    refresh_token: Option<Secret>,
}

/// The cookie of a request that may have something for one use.
pub(crate) struct OneShotCookie {
    id: [u8; 32],
    /// Somebody has it: the cookie names nothing any more.
    taken: AtomicBool,
    removal: HeaderValue,
}

impl OneShotToken {
    /// For services without axum: from the extensions of a request that came through the layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OneShotMissing`](crate::ErrorKind::OneShotMissing) when there is nothing, or no longer;
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) when nobody is signed in whose it could be;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is away, which takes nothing;
    /// [`ErrorKind::LayerMissing`](crate::ErrorKind::LayerMissing) when the request did not come through the layer.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::take(RequestState::of(extensions)?).await
    }

    pub(crate) async fn take(state: &RequestState) -> Result<Self, Error> {
        let holder = state.runtime.ownership.holder(state)?;
        let cookie = state.one_shot.as_ref().ok_or_else(|| state.one_shot_missing())?;
        let row = row(&state.runtime, &cookie.id, &holder).await?;
        // Deleted and returned at once: of two that ask, in whichever processes, one has it.
        let (record, _) = state.runtime.records.take::<OneShotRecord>(&row).await?;
        cookie.taken.store(true, Ordering::Relaxed);
        let record = record.ok_or_else(|| state.one_shot_missing())?;
        let access_token = AccessToken::new(record.access_token.clone());
        Ok(Self { runtime: Arc::clone(&state.runtime), holder, record, access_token })
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
    pub fn for_url(&self, url: &str) -> Result<&AccessToken, Error> {
        let connections = self.runtime.connections_of(&self.holder);
        let covering = |url| connections?.resources().covering(&url);
        let covering = resource::parse(url).and_then(covering);
        if covering.is_some_and(|source| source.connection == self.connection()) {
            Ok(&self.access_token)
        } else {
            Err(Error::no_token_for_url())
        }
    }

    /// Has the provider end it (RFC 7009), where it offers that. Best effort: what is not revoked expires.
    pub async fn revoke(self) {
        let Self { runtime, holder, record, .. } = self;
        let connections = runtime.connections_of(&holder);
        let Some(connection) = connections.and_then(|all| all.named(&record.connection)) else { return };
        let provider = Arc::clone(runtime.providers.get(connection.provider));
        let tokens = TokenResponse {
            access_token: record.access_token,
            refresh_token: record.refresh_token,
            expires_in: None,
            id_token: None,
            scopes: None,
        };
        // In a task of its own: a browser that goes away does not keep it alive.
        let _ = runtime.tasks.spawn(async move { revoke(&provider, &tokens).await }).await;
    }
}

impl fmt::Debug for OneShotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShotToken").field("connection", &self.connection()).finish_non_exhaustive()
    }
}

impl OneShotCookie {
    pub(crate) fn read(value: &[u8], cookies: &CookieStyle) -> Option<Arc<Self>> {
        let id = URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()?;
        let removal = cookies.remove(&cookies.name(NAME), CrossSite::Lax);
        Some(Arc::new(Self { id, taken: AtomicBool::new(false), removal }))
    }

    /// What the answer removes, where somebody took what the cookie names.
    pub(crate) fn removal(&self) -> Option<HeaderValue> {
        self.taken.load(Ordering::Relaxed).then(|| self.removal.clone())
    }
}

/// The cookie's name, after the prefix.
const NAME: &str = "once";

/// Lays down what was granted for one use, and returns the cookie that names it.
pub(crate) async fn lay_down(
    runtime: &Runtime,
    connection: &str,
    holder: &Holder,
    asked: &[String],
    tokens: &TokenResponse,
) -> Result<HeaderValue, StoreError> {
    let id = runtime.random.bytes::<32>();
    let row = row(runtime, &id, holder).await?;
    let record = OneShotRecord {
        connection: connection.to_owned(),
        scopes: tokens.scopes.clone().unwrap_or_else(|| asked.to_vec()),
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone(),
    };
    let expires_at = runtime.now().plus(LIFETIME);
    runtime.records.swap(&row, None, &record, expires_at, Vec::new()).await?;
    let cookies = &runtime.settings.cookies;
    Ok(cookies.set(&cookies.name(NAME), &URL_SAFE_NO_PAD.encode(id), LIFETIME, CrossSite::Lax))
}

/// Whoever brings the id in another session finds no row at all.
async fn row(runtime: &Runtime, id: &[u8; 32], holder: &Holder) -> Result<Row, StoreError> {
    let session = holder.session().map(|session| session.id.row().key.0);
    let owner = encode(&[&holder.owner().encoded(), session.as_ref().map_or(&[][..], |key| &key[..])]);
    let key = Key(runtime.records.index().await?.hash(&[b"one shot", id, &owner]));
    Ok(Row { purpose: Purpose::OneShot, key, owner })
}
