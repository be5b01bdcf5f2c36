//! The session of the browser that asks.

use std::sync::Arc;

use http::HeaderMap;

use crate::cookie;
use crate::runtime::Runtime;
use crate::session::Session;
use crate::session_id::SessionId;
use crate::store::StoreError;

/// The session that the browser's cookie names, whether it lasts or not.
pub(crate) fn session_id(runtime: &Runtime, headers: &HeaderMap) -> Option<SessionId> {
    let cookie = cookie::find(headers, &runtime.settings.session_cookie)?;
    runtime.sessions.id(cookie, &runtime.records, runtime.now())
}

/// The session that lasts in this browser.
pub(crate) async fn signed_in(
    runtime: &Runtime,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, StoreError> {
    let cookie = cookie::find(headers, &runtime.settings.session_cookie);
    runtime.sessions.of(cookie, &runtime.records, runtime.now()).await
}
