//! A grant as it is held: where it lies, and what to do about it at a moment.

use crate::ambient::Timestamp;
use crate::grant::{Freshness, Grant, Standing, TokenSet};
use crate::records::{FOREVER, GrantPlace, Loaded};
use crate::runtime::Runtime;
use crate::secret::Secret;
use crate::store::{StoreError, Version};

/// What is wanted of a grant.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// The resource indicator, or the provider's default audience.
    pub(crate) indicator: Option<String>,
    /// What the token for the indicator is asked with.
    pub(crate) scopes: Vec<String>,
    /// An access token that an API refused: it counts as expired.
    pub(crate) rejected: Option<Secret>,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum NoToken {
    /// The person must grant (again).
    Consent,
    /// It may work later.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for NoToken {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// What to do about a grant at this moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Serve,
    /// Serve, and refresh in the background.
    ServeAndRenew,
    Refresh,
    Consent,
}

pub(crate) fn is_rejected(set: &TokenSet, want: &Want) -> bool {
    want.rejected.as_ref() == Some(&set.access_token)
}

/// Decides from the grant alone.
pub(crate) fn next(grant: &Grant, want: &Want, now: Timestamp, spread: u8) -> Step {
    if grant.standing != Standing::Good {
        return Step::Consent;
    }
    let set = grant.token_set(want.indicator.as_deref()).filter(|set| !is_rejected(set, want));
    let can_refresh = grant.can_renew();
    match set.map(|set| (set.freshness(now, spread), set.expires_at)) {
        Some((Freshness::Fresh, _)) => Step::Serve,
        Some((Freshness::Aging, _)) if can_refresh => Step::ServeAndRenew,
        // Nothing can replace it: it serves to its last moment.
        Some((_, end)) if !can_refresh && end.is_none_or(|end| now < end) => Step::Serve,
        _ if can_refresh => Step::Refresh,
        _ => Step::Consent,
    }
}

/// The grant as it is kept, fresh or not, or as it would begin.
pub(crate) async fn stored(runtime: &Runtime, place: &GrantPlace) -> Result<Option<Grant>, NoToken> {
    let kept = read(runtime, place).await?.map(|(grant, ..)| grant);
    Ok(kept.or_else(|| beginning(runtime, place)))
}

/// The same; what begins is written, unless somebody else was first.
pub(crate) async fn stored_or_begun(runtime: &Runtime, place: &GrantPlace) -> Result<Option<Grant>, NoToken> {
    loop {
        if let Some((grant, ..)) = read(runtime, place).await? {
            return Ok(Some(grant));
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
            return Ok(Some(grant));
        }
    }
}

fn beginning(runtime: &Runtime, place: &GrantPlace) -> Option<Grant> {
    let connection = runtime.connection_of(place)?;
    runtime.ownership.beginning(connection).filter(|grant| grant.owner == place.owner)
}

/// The seal is bound to the owner; this is the same wall in the contents.
fn is_of(runtime: &Runtime, place: &GrantPlace, grant: &Grant) -> bool {
    grant.owner == place.owner && runtime.ownership.counts(grant)
}

/// The grant with its row's version and expiry; `None` where none counts.
pub(crate) async fn read(
    runtime: &Runtime,
    place: &GrantPlace,
) -> Result<Option<(Grant, Version, Timestamp)>, NoToken> {
    match runtime.records.load::<Grant>(&place.row).await? {
        Loaded::Found(found) if is_of(runtime, place, &found.value) => {
            Ok(Some((found.value, found.version, found.expires_at)))
        }
        Loaded::Found(_) | Loaded::Absent(_) => Ok(None),
        Loaded::Unreadable => {
            Err(NoToken::Unavailable("the grant is sealed with a secret that is not configured".into()))
        }
    }
}
