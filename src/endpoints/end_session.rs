//! Ending a session with what ends with it.

use crate::config::GrantLifetime;
use crate::endpoints::Arc;
use crate::events::EventCode;
use crate::secret::Secret;
use crate::sessions::{ProviderSessions, Session, SessionId, SessionRecord};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::{Key, StoreError};
use crate::tokens::{GrantRef, Principal, SessionRows};

/// Ends a session and, where that is the session's own, its grant. Returns the ID token, for the provider.
///
/// `session` is what the browser shows of it, where browsers carry their sessions: `None` when all that is known is
/// the id.
pub(crate) async fn end_session(
    runtime: &Arc<Runtime>, id: SessionId, session: Option<&Arc<Session>>, jar: &CookieJar,
) -> Result<Option<Secret>, StoreError> {
    let latest_end = runtime.now().saturating_add(runtime.settings.absolute_lifetime);
    let ends_at = session.map_or(latest_end, |session| session.ends_at);
    if let Some(kept) = runtime.sessions.take(id, ends_at).await? {
        // A login may have replaced it a moment ago, which goes on with its grants.
        let Some((row, found)) = kept else { return Ok(None) };
        end_grants(runtime, row, &found.value).await?;
        return Ok(Some(found.value.id_token));
    }
    let Some(session) = session else { return Ok(None) };
    let principal = Principal::Session(Arc::clone(session));
    let connections = runtime.connections_of(&principal).map_or(&[][..], |granted| &granted.all);
    for connection in connections {
        end_grant(&runtime.place_of(&principal, connection, jar).await?).await;
    }
    let newest = session.provider_sessions().and_then(ProviderSessions::take_id_token);
    Ok(newest.or_else(|| Some(jar.claims(session)?.id_token)))
}

/// Ends a session that is kept in a row, with the grants that were its own. Whoever comes with it finds out from the store.
pub(crate) async fn end_kept(
    runtime: &Arc<Runtime>, session: Key, record: &SessionRecord, by: &str,
) -> Result<(), StoreError> {
    runtime.records.delete(session, None).await?;
    runtime.events().emit(EventCode::LoggedOut, Some(record.user()), by);
    end_grants(runtime, session, record).await
}

/// Ends the grants that were a session's own.
async fn end_grants(runtime: &Arc<Runtime>, session: Key, record: &SessionRecord) -> Result<(), StoreError> {
    // Where people do not sign in any more, nothing of the session's can be found. It expires with it.
    let Some(provider) = runtime.providers.of_issuer(&record.issuer) else { return Ok(()) };
    let connections = runtime.settings.connections(provider.relying_party.id);
    let all = connections.others().chain(&connections.sign_in);
    for connection in all.filter(|connection| connection.grant_lifetime == GrantLifetime::Session) {
        let home = record.home.map_or(session, |home| runtime.session_row(SessionId::new(home)));
        let rows = SessionRows { row: session, home };
        end_grant(&runtime.grant_place(record.owner(), connection, Some(rows)).await?).await;
    }
    Ok(())
}

/// Best effort: without its session the grant is out of reach, and it expires with it.
async fn end_grant(place: &GrantRef) {
    if let Ok((Some(grant), _)) = place.take().await {
        revoke(place, grant.refresh_token);
    }
}

/// A refresh token of which nothing is kept any more is revoked, where a logout revokes.
pub(crate) fn revoke(place: &GrantRef, refresh_token: Option<Secret>) {
    let provider = Arc::clone(place.provider());
    if let (true, Some(refresh_token)) = (provider.relying_party.revoke_at_logout, refresh_token) {
        place.runtime.tasks.spawn(async move { provider.revoke(&refresh_token, "refresh_token").await });
    }
}
