//! A grant as it is held: where it lies, and what to do about it at a moment.

use std::sync::Arc;

use super::coordination;
use super::locate::GrantRef;
use super::refresh_protocol::{self, RowView, SpentToken, Usability};
use crate::clock::Timestamp;
use crate::records::grant::{Freshness, Grant, GrantStatus, Lease, TokenSet};
use crate::records::grant_key::{Observation, ObservedAt};
use crate::records::invalidation::Slot;
use crate::records::{FOREVER, Found, Loaded};
use crate::secret::Secret;
use crate::state::Runtime;
use crate::stateless::grant_cookie::{GrantCookie, Unreadable};
use crate::store::{StoreError, Version};

/// What is wanted of a grant.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    /// The resource indicator, or the provider's default audience.
    pub(crate) indicator: Option<String>,
    /// What the token for the indicator is asked with.
    pub(crate) scopes: Vec<String>,
    /// An access token that an API refused: it counts as expired.
    pub(crate) rejected: Option<Secret>,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum TokenUnavailable {
    /// The person must grant (again), or the account's operator must act.
    Consent,
    /// It may work later.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for TokenUnavailable {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// What to do about a grant at this moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Serve,
    /// Serve, and refresh in the background.
    ServeAndRenew,
    Refresh,
    Consent,
}

pub(crate) fn is_rejected(set: &TokenSet, request: &TokenRequest) -> bool {
    request.rejected.as_ref() == Some(&set.access_token)
}

/// Decides from the grant alone.
pub(crate) fn next(grant: &Grant, request: &TokenRequest, now: Timestamp, spread: u8) -> Decision {
    if grant.status != GrantStatus::Active {
        return Decision::Consent;
    }
    let set = grant.token_set(request.indicator.as_deref()).filter(|set| !is_rejected(set, request));
    // What the refresh token cannot bring again serves to its last moment.
    let wider = set.is_some_and(|set| grant.is_wider(set) && set.lives(now));
    if !wider && grant.lapses(&request.scopes) {
        return Decision::Consent;
    }
    let can_refresh = grant.can_renew() && !wider;
    match set.map(|set| (set.freshness(now, spread), set.expires_at)) {
        Some((Freshness::Fresh, _)) => Decision::Serve,
        Some((Freshness::Aging, _)) if can_refresh => Decision::ServeAndRenew,
        // Nothing can replace it: it serves to its last moment.
        Some((_, end)) if !can_refresh && end.is_none_or(|end| now < end) => Decision::Serve,
        _ if can_refresh => Decision::Refresh,
        _ => Decision::Consent,
    }
}

/// A grant as it is held.
pub(crate) struct StoredGrant {
    pub(crate) grant: Arc<Grant>,
    /// Of its row; `None` where only the browser has it.
    pub(crate) version: Option<Version>,
    pub(crate) expires_at: Timestamp,
}

impl StoredGrant {
    /// The row as the refresh protocol sees it. `holder` names this attempt in its leases.
    pub(crate) fn row(
        &self,
        holder: &[u8; 16],
        request: &TokenRequest,
        now: Timestamp,
        spread: u8,
    ) -> RowView<Option<Version>, Option<Secret>> {
        let grant = &self.grant;
        let held = |lease: &Lease| refresh_protocol::LeaseView {
            mine: lease.holder == *holder,
            left: lease.until.duration_since(now),
        };
        RowView {
            version: self.version,
            spent_token: SpentToken {
                refreshes: grant.refreshes(),
                refresh_token: grant.refresh_token.clone(),
            },
            lease: grant.lease.as_ref().map(held),
            usability: match next(grant, request, now, spread) {
                Decision::Serve => Usability::Good,
                Decision::ServeAndRenew | Decision::Refresh => Usability::Stale,
                Decision::Consent => Usability::Over,
            },
            outlives: grant.outlives_refresh_token(now),
        }
    }
}

/// The grant as it is kept, fresh or not, or as it would begin.
pub(crate) async fn stored(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
) -> Result<Option<Arc<Grant>>, TokenUnavailable> {
    let kept = read(runtime, place).await?.map(|held| held.grant);
    Ok(kept.or_else(|| beginning(runtime, place).map(Arc::new)))
}

/// The same; what begins is written, unless somebody else was first.
pub(crate) async fn stored_or_begun(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
) -> Result<Option<Arc<Grant>>, TokenUnavailable> {
    loop {
        if let Some(held) = read(runtime, place).await? {
            return Ok(Some(held.grant));
        }
        let Some(mut grant) = beginning(runtime, place) else { return Ok(None) };
        let version = match runtime.records.load::<Grant>(&place.row).await? {
            Loaded::Found(found) if is_of(runtime, place, &found.value) => continue,
            Loaded::Found(found) => {
                // A refresh that is under way for what is replaced finds a newer generation, and adopts it.
                grant.generation = found.value.generation + 1;
                Some(found.version)
            }
            Loaded::Absent(version) => version,
            Loaded::Unreadable => continue,
        };
        if runtime.records.swap(&place.row, version, &grant, FOREVER, Vec::new()).await?.is_some() {
            return Ok(Some(Arc::new(grant)));
        }
    }
}

fn beginning(runtime: &Runtime, place: &GrantRef) -> Option<Grant> {
    let connection = runtime.connection_of(place)?;
    runtime.mode.beginning(connection, place.client).filter(|grant| place.holds(grant))
}

fn is_of(runtime: &Runtime, place: &GrantRef, grant: &Grant) -> bool {
    place.holds(grant) && runtime.mode.counts(grant)
}

/// The grant with its row's version and expiry; `None` where none counts.
pub(crate) async fn read(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
) -> Result<Option<StoredGrant>, TokenUnavailable> {
    let asked = ObservedAt { at: runtime.now(), heard: runtime.records.invalidations().heard() };
    let shown = place.jar.as_ref().map(|jar| jar.grant(asked.at)).transpose();
    let shown = shown.map_err(|Unreadable| unreadable())?.flatten();
    let loaded = match coordination::load(runtime, place, shown.as_ref()).await? {
        Loaded::Found(found) if !is_of(runtime, place, &found.value) => Loaded::Absent(Some(found.version)),
        loaded => loaded,
    };
    if let Some(jar) = &place.jar {
        return newer(runtime, place, (jar, shown), loaded, asked);
    }
    match loaded {
        Loaded::Found(found) => {
            let Found { value, version, expires_at, .. } = *found;
            Ok(Some(StoredGrant { grant: Arc::new(value), version: Some(version), expires_at }))
        }
        Loaded::Absent(_) => Ok(None),
        Loaded::Unreadable => Err(unreadable()),
    }
}

fn unreadable() -> TokenUnavailable {
    TokenUnavailable::Unavailable("the grant is sealed with a secret that is not configured".into())
}

/// Of what the browser shows and what lies where processes meet.
fn newer(
    runtime: &Arc<Runtime>,
    place: &GrantRef,
    (jar, shown): (&GrantCookie, Option<Arc<Grant>>),
    loaded: Loaded<Grant>,
    asked: ObservedAt,
) -> Result<Option<StoredGrant>, TokenUnavailable> {
    let now = runtime.now();
    let held = |grant: Arc<Grant>, version| {
        Ok(Some(StoredGrant { expires_at: jar.until_of(&grant), grant, version }))
    };
    let nothing_above = |generation, until| {
        let until = runtime.sessions.believed_until(asked.at).min(until);
        place.newest.put(Observation { generation, asked, until });
    };
    match (loaded, shown) {
        (Loaded::Unreadable, _) => Err(unreadable()),
        (Loaded::Absent(version), Some(shown)) => {
            nothing_above(0, FOREVER);
            held(shown, version)
        }
        (Loaded::Absent(_), None) => Ok(None),
        (Loaded::Found(found), Some(shown)) if found.value.generation < shown.generation => {
            held(shown, Some(found.version))
        }
        (Loaded::Found(found), shown) => {
            place.newest.forget_below(found.value.generation);
            match shown.filter(|shown| shown.generation == found.value.generation) {
                Some(shown) => {
                    let until = coordination::let_go(runtime, place, &found, now);
                    // Of two that both were made of an older one, the row's counts.
                    let same = shown.refresh_token == found.value.refresh_token;
                    if same && found.value.status == GrantStatus::Active {
                        nothing_above(found.value.generation, until);
                    }
                }
                None => jar.note(&Arc::new(found.value.clone())),
            }
            match found.value.status {
                GrantStatus::Revoked => Ok(None),
                _ => held(Arc::new(found.value), Some(found.version)),
            }
        }
    }
}

/// The token that the browser shows, where it is fresh and the store was asked a moment ago whether there is a newer
/// one. It asks nobody.
pub(crate) fn shown(runtime: &Runtime, place: &GrantRef, request: &TokenRequest) -> Option<Secret> {
    let jar = place.jar.as_ref()?;
    let (changes, now) = (runtime.records.invalidations(), runtime.now());
    let newest = place.newest.generation(Slot::of(place.row.key), changes, now)?;
    let grant = jar.recalled(now).filter(|grant| grant.generation >= newest)?;
    match next(&grant, request, now, place.spread()) {
        Decision::Serve => Some(grant.token_set(request.indicator.as_deref())?.access_token.clone()),
        Decision::ServeAndRenew | Decision::Refresh | Decision::Consent => None,
    }
}
