//! What a visitor granted becomes the person's who signs in, or goes on under another name of the same browser.

use super::locate::{GrantRef, Principal, is_another};
use crate::clock::Timestamp;
use crate::config::{CheckedConnection, GrantLifetime};
use crate::events::EventCode;
use crate::records::{Grant, GrantStatus};
use crate::sessions::{Session, Visitor};
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::{StoreError, StoreErrorKind};
use crate::tokens::{Arc, Duration};

/// What a visitor granted, in the browser that shows these cookies.
pub(crate) struct VisitorGrants<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) visitor: Visitor,
    pub(crate) jar: &'a CookieJar,
}

impl VisitorGrants<'_> {
    /// Hands them to the person who has signed in there, where they have nothing of their own. Returns the names of the
    /// connections that are theirs now.
    pub(crate) async fn claim(&self, session: &Arc<Session>) -> Result<Vec<String>, StoreError> {
        let (to, mut claimed) = (Principal::Session(Arc::clone(session)), Vec::new());
        for (connection, place) in self.places().await? {
            let theirs = self.runtime.connection_of(&to, &connection.name);
            let theirs = theirs.filter(|theirs| theirs.provider == connection.provider);
            let Some(theirs) = theirs else { continue };
            let own = self.runtime.place_of(&to, theirs, self.jar).await?;
            let ends = Some((theirs.grant_lifetime, session.ends_at));
            if is_free(&own).await? && hand_over(place, own, ends).await? {
                claimed.push(theirs.name.clone());
            }
        }
        Ok(claimed)
    }

    /// Whether the browser can be given another name: it shows what was granted, which a cross-site POST does not, and no
    /// refresh of that is under way, whose answer would come to the name that it has.
    pub(crate) async fn can_rename(&self) -> Result<bool, StoreError> {
        if !self.jar.shows_visitor(self.visitor) {
            return Ok(false);
        }
        let settling = async {
            for (_, place) in self.places().await? {
                while let (Some(grant), version) = place.newest().await?
                    && let Some(left) = under_way(&grant, self.runtime.now())
                {
                    self.runtime.records.wait(place.row.key, version, left).await?;
                }
            }
            Ok(true)
        };
        tokio::time::timeout(MOMENT, settling).await.unwrap_or(Ok(false))
    }

    /// What was granted under one name of a browser goes on under another.
    pub(crate) async fn rename(&self, to: Visitor) -> Result<(), StoreError> {
        for (connection, place) in self.places().await? {
            let own = self.runtime.place_of(&Principal::Visitor(to), connection, self.jar).await?;
            if is_free(&own).await? {
                hand_over(place, own, None).await?;
            } else {
                // It was granted anew.
                place.take().await?;
            }
        }
        Ok(())
    }

    /// Where they lie.
    async fn places(&self) -> Result<Vec<(&CheckedConnection, GrantRef)>, StoreError> {
        let (visitor, mut places) = (Principal::Visitor(self.visitor), Vec::new());
        let connections = self.runtime.connections_of(&visitor).map_or(&[][..], |granted| &granted.all);
        for connection in connections.iter().filter(|one| one.visitors) {
            places.push((connection, self.runtime.place_of(&visitor, connection, self.jar).await?));
        }
        Ok(places)
    }
}

/// How long a refresh that is under way may take still.
fn under_way(grant: &Grant, now: Timestamp) -> Option<Duration> {
    let left = grant.lease.as_ref().map(|lease| lease.until.duration_since(now));
    left.filter(|left| !left.is_zero())
}

/// With what session a person's grant ends, and whether it outlives that; `None` for a visitor, whose grant lasts as long as
/// the name of the browser.
type Ends = Option<(GrantLifetime, Timestamp)>;

/// Whether the person has nothing there that could be lost.
async fn is_free(place: &GrantRef) -> Result<bool, StoreError> {
    let (own, _) = place.newest().await?;
    Ok(own.is_none_or(|grant| grant.status != GrantStatus::Active))
}

async fn hand_over(from: GrantRef, to: GrantRef, ends: Ends) -> Result<bool, StoreError> {
    let runtime = Arc::clone(&from.runtime);
    // Who hangs up, or meets a store that is away, leaves nothing half done.
    let moving = runtime.wholly(async move { move_grant(&from, &to, ends).await });
    let late = |_| Err(StoreError::outcome_unknown("it takes too long", "nobody waits any more"));
    tokio::time::timeout(2 * PATIENCE, moving).await.unwrap_or_else(late)
}

/// Moves what is there, where it is not known to be another account's than its new owner's. A refresh of it that is under
/// way is waited for: what it spends would be lost.
async fn move_grant(from: &GrantRef, to: &GrantRef, ends: Ends) -> Result<bool, StoreError> {
    let runtime = &from.runtime;
    let began = runtime.now();
    let mut grant = loop {
        let (grant, version) = from.newest().await?;
        let Some(grant) = grant.filter(|grant| grant.status == GrantStatus::Active) else { return Ok(false) };
        if grant.original.as_ref().is_some_and(|facts| is_another(to.owner.user(), to.provider(), facts)) {
            return Ok(false);
        }
        let now = runtime.now();
        match under_way(&grant, now) {
            Some(_) if now.duration_since(began) >= PATIENCE => return Ok(false),
            Some(left) => runtime.records.wait(from.row.key, version, left.min(PATIENCE)).await?,
            // First away from there: it never has two owners.
            None if from.take_found(&grant, version).await? => break Grant::clone(&grant),
            None => {}
        }
    };
    (grant.owner, grant.client, grant.lease) = (to.owner.clone(), to.client, None);
    let (grant_lifetime, until) = ends.unwrap_or_else(|| {
        let granted_at = grant.consent.as_ref().map_or(runtime.now(), |consent| consent.at);
        (GrantLifetime::Session, granted_at.saturating_add(runtime.settings.visitor_lifetime))
    });
    // It is nowhere but here: until the store takes it, or it is over.
    while let Err(error) = to.keep(grant.clone(), grant_lifetime.kept_until(until)).await {
        // It may be written, and refreshed since.
        if is_free(to).await.is_ok_and(|free| !free) {
            break;
        }
        if error.kind() == StoreErrorKind::Refused || runtime.now() >= until {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(user) = to.owner.user() {
        let detail = format_args!("{}, taken over", to.connection);
        runtime.events().emit(EventCode::Connected, Some(user), detail);
    }
    Ok(true)
}

/// Between attempts to write what is nowhere else.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a callback waits for the same.
const MOMENT: Duration = Duration::from_secs(2);

/// How long somebody who takes a grant over waits for a refresh of it that is under way.
const PATIENCE: Duration = Duration::from_secs(25);
