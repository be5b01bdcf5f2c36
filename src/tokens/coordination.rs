//! Where processes meet that keep no grants: the rows beside what browsers carry.
//!
//! A row is written before a refresh token is spent and with what came for it, is there for late requests with older
//! cookies, and goes a while after its browser has shown the same. What a person took back is noted until nobody can
//! show it any more.

use std::sync::Arc;

use super::locate::GrantRef;
use crate::clock::Timestamp;
use crate::records::grant::{Grant, GrantStatus};
use crate::records::{FOREVER, Found, Loaded};
use crate::state::Runtime;
use crate::stateless::response_cookies::SETS_WITHIN;
use crate::stateless::{GRACE, TooLarge};
use crate::store::{StoreError, Version};

/// The browser has shown what lies there: the row is kept for late requests only, and not for long. Returns until when
/// there is nothing to do about it, unless it changes.
pub(crate) fn let_go(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
    found: &Found<Grant>,
    now: Timestamp,
) -> Timestamp {
    let expires_at = now.saturating_add(GRACE);
    let newest = found.value.token_sets.iter().map(|set| set.issued_at).max().unwrap_or_default();
    // An answer with what was the newest a moment ago may still be on its way: what the browser shows once that has
    // come is what it has.
    let settled = newest.saturating_add(2 * SETS_WITHIN);
    // Whoever holds a lease writes again.
    if found.value.lease.is_some() || found.value.status == GrantStatus::Revoked {
        return now;
    }
    if now < settled {
        return settled;
    }
    if found.expires_at <= expires_at {
        return FOREVER;
    }
    let (runtime, row) = (Arc::clone(runtime), place.row.clone());
    let (grant, version) = (found.value.clone(), found.version);
    let tasks = runtime.tasks.clone();
    tasks.spawn(async move {
        // If somebody was faster, or the store is away, the next request sees to it.
        let written = runtime.records.swap(&row, Some(version), &grant, expires_at, Vec::new()).await;
        if matches!(written, Ok(Some(_))) {
            runtime.sweep_in_time();
        }
    });
    now
}

/// Takes a grant away from where it is kept and returns it; where a browser could bring it again, a note stays that it
/// counts no more. The second says whether there was anything.
pub(crate) async fn take(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
) -> Result<(Option<Grant>, bool), StoreError> {
    if place.jar.is_none() {
        let (found, deleted) = runtime.records.take(&place.row).await?;
        return Ok((found.map(|found| found.value), deleted));
    }
    loop {
        let (newest, version) = newest(runtime, place).await?;
        let Some(newest) = newest.filter(|grant| grant.status != GrantStatus::Revoked) else {
            return Ok((None, false));
        };
        if take_found(runtime, place, &newest, version).await? {
            return Ok((Some(Grant::clone(&newest)), true));
        }
    }
}

/// Takes away what was found at this version; false where somebody was faster.
pub(crate) async fn take_found(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
    found: &Grant,
    version: Option<Version>,
) -> Result<bool, StoreError> {
    let Some(jar) = &place.jar else { return runtime.records.delete(place.row.key, version).await };
    let note = found.tombstone(GrantStatus::Revoked);
    let noted = runtime.records.swap(&place.row, version, &note, jar.until(), Vec::new()).await?.is_some();
    if noted {
        jar.note(&Arc::new(note));
    }
    Ok(noted)
}

/// The newest generation of what can be read, whatever its standing, and the version of the row.
pub(crate) async fn newest(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
) -> Result<(Option<Arc<Grant>>, Option<Version>), StoreError> {
    let shown = place.jar.as_ref().and_then(|jar| jar.grant(runtime.now()).ok().flatten());
    let (kept, version) = match load(runtime, place, shown.as_ref()).await? {
        Loaded::Found(found) => (Some(Arc::new(found.value)), Some(found.version)),
        Loaded::Absent(version) => (None, version),
        Loaded::Unreadable => (None, runtime.records.version(place.row.key).await?),
    };
    let kept = kept.filter(|grant| place.holds(grant));
    if let Some(kept) = &kept {
        place.newest.forget_below(kept.generation);
    }
    // Of two that are the same generation the last one: the row knows who refreshes it.
    Ok((shown.into_iter().chain(kept).max_by_key(|grant| grant.generation), version))
}

/// What lies in the row. Where the browser shows the grant as good still, a row that looks expired counts: this clock may
/// be wrong, and what others have refreshed or taken back is neither spent again nor served.
pub(crate) async fn load(
    runtime: &Runtime,
    place: &GrantRef,
    shown: Option<&Arc<Grant>>,
) -> Result<Loaded<Grant>, StoreError> {
    match shown {
        Some(_) => runtime.records.load_expired_too(&place.row).await,
        None => runtime.records.load(&place.row).await,
    }
}

/// Whether the browser that a grant is for can carry it.
pub(crate) fn fits(place: &GrantRef, grant: &Grant) -> Result<(), TooLarge> {
    place.jar.as_ref().map_or(Ok(()), |jar| jar.fits(grant))
}
