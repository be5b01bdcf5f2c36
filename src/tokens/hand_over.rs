//! What a visitor granted becomes the person's who signs in.

use super::locate::GrantRef;
use super::principal::Principal;
use super::save::keep_grant;
use crate::config::connection::GrantLifetime;
use crate::config::connections::CheckedConnections;
use crate::error::Error;
use crate::events::EventCode;
use crate::protocol::id_token::OriginalIdToken;
use crate::records::grant::{Grant, GrantStatus};
use crate::sessions::session::Session;
use crate::sessions::visitor_id::Visitor;
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::{StoreError, StoreErrorKind};
use crate::tokens::Arc;
use crate::tokens::Duration;

/// Hands what this browser's visitor granted to the person who has signed in there, where they have nothing of their
/// own. Returns the names of the connections that are theirs now.
pub(crate) async fn claim(
    runtime: &Arc<Runtime>,
    visitor: Visitor,
    session: &Arc<Session>,
    jar: Option<&Arc<CookieJar>>,
) -> Result<Vec<String>, Error> {
    let (from, to) = (Principal::Visitor(visitor), Principal::Session(Arc::clone(session)));
    let connections = runtime.connections_of(&from).map(CheckedConnections::all).unwrap_or_default();
    let mut claimed = Vec::new();
    for connection in connections.iter().filter(|connection| connection.visitors) {
        let theirs = runtime.connections_of(&to).and_then(|connections| connections.named(&connection.name));
        let Some(theirs) = theirs.filter(|theirs| theirs.provider == connection.provider) else { continue };
        let place = runtime.place_of(&from, connection, jar).await?;
        let own = runtime.place_of(&to, theirs, jar).await?;
        if !is_free(&own).await? {
            continue;
        }
        let moving = hand_over(place, own, theirs.grant_lifetime, Arc::clone(session));
        // In a task of its own: who hangs up, or meets a store that is away, leaves nothing half done.
        let mut moving = runtime.tasks.spawn(moving);
        let moved = match tokio::time::timeout(2 * PATIENCE, &mut moving).await {
            Ok(moved) => moved
                .unwrap_or_else(|_| Err(StoreError::outcome_unknown("it was given up", "its task ended")))?,
            Err(_) => {
                return Err(StoreError::outcome_unknown("it takes too long", "nobody waits any more").into());
            }
        };
        if moved {
            claimed.push(theirs.name.clone());
        }
    }
    Ok(claimed)
}

/// Whether the person has nothing there that could be lost.
async fn is_free(place: &GrantRef) -> Result<bool, StoreError> {
    let (own, _) = place.newest().await?;
    Ok(own.is_none_or(|grant| grant.status != GrantStatus::Active))
}

/// Moves what is there, where it is not known to be another account's. A refresh of it that is under way is waited for:
/// what it spends would be lost.
async fn hand_over(
    from: GrantRef,
    to: GrantRef,
    grant_lifetime: GrantLifetime,
    session: Arc<Session>,
) -> Result<bool, StoreError> {
    let runtime = &from.runtime;
    let began = runtime.now();
    let mut grant = loop {
        let (grant, version) = from.newest().await?;
        let Some(grant) = grant.filter(|grant| grant.status == GrantStatus::Active) else { return Ok(false) };
        let another =
            |facts: &OriginalIdToken| facts.issuer == *session.issuer && facts.subject != *session.subject;
        if grant.original.as_ref().is_some_and(another) {
            return Ok(false);
        }
        let now = runtime.now();
        match grant.lease.as_ref().map(|lease| lease.until.duration_since(now)).filter(|left| !left.is_zero())
        {
            Some(_) if now.duration_since(began) >= PATIENCE => return Ok(false),
            Some(left) => runtime.records.wait(from.row.key, version, left.min(PATIENCE)).await?,
            // First away from there: it never has two owners.
            None if from.take_found(&grant, version).await? => {
                break Grant::clone(&grant);
            }
            None => {}
        }
    };
    (grant.owner, grant.client, grant.lease) = (to.owner.clone(), to.client, None);
    // It is nowhere but here: until the store takes it, or the session is over.
    while let Err(error) = keep_grant(&to, grant_lifetime, grant.clone(), session.ends_at).await {
        // It may be written, and refreshed since.
        if is_free(&to).await.is_ok_and(|free| !free) {
            break;
        }
        if error.kind() == StoreErrorKind::Refused || runtime.now() >= session.ends_at {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let detail = format_args!("{}, taken over", to.connection);
    runtime.events().emit(EventCode::Connected, Some(session.user()), detail);
    Ok(true)
}

/// Between attempts to write what is nowhere else.
const PAUSE: Duration = Duration::from_secs(2);

/// How long somebody who takes a grant over waits for a refresh of it that is under way.
const PATIENCE: Duration = Duration::from_secs(25);
