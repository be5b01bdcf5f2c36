//! The session of the browser that asks, and the ID tokens that come for it.

use std::sync::Arc;

use http::HeaderMap;

use crate::cookie;
use crate::sessions::session::Session;
use crate::sessions::session_id::SessionId;
use crate::sessions::session_row;
use crate::state::Runtime;
use crate::store::StoreError;

/// The session that the browser's cookie names, whether it lasts or not.
pub(crate) fn session_id(runtime: &Runtime, headers: &HeaderMap) -> Option<SessionId> {
    let cookie = cookie::find(headers, &runtime.settings.session_cookie)?;
    runtime.sessions.id(cookie, runtime.now())
}

/// The session that lasts in this browser.
pub(crate) async fn signed_in(
    runtime: &Runtime,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, StoreError> {
    let cookie = cookie::find(headers, &runtime.settings.session_cookie);
    runtime.sessions.of(cookie, runtime.now()).await
}

/// The provider's sessions that this session of this person names, where it lasts.
pub(crate) async fn sids(
    runtime: &Runtime,
    id: SessionId,
    person: (&str, &str),
) -> Result<Vec<String>, StoreError> {
    if runtime.opened_grants.is_none() {
        return session_row::sids(&id.row(runtime.records.keys()), person, &runtime.records).await;
    }
    let session = runtime.sessions.find(id, runtime.now()).await?;
    let session = session.filter(|session| session.user() == Some(person));
    Ok(session.and_then(|session| Some(session.provider_sessions()?.sids())).unwrap_or_default())
}
