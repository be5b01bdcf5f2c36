//! A grant as it is held: where it lies, and what to do about it at a moment.

use std::sync::Arc;
use std::time::Duration;

use super::locate::{GrantRef, StoredGrant, unreadable};
use crate::clock::Timestamp;
use crate::records::{FOREVER, Freshness, Grant, GrantStatus, Loaded, Observed, ObservedAt, TokenSet};
use crate::secret::Secret;
use crate::stateless::grant_cookie::{GrantCookie, Unreadable};
use crate::store::StoreError;

/// What is wanted of a grant.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    /// The resource indicator, or the provider's default audience.
    pub(crate) indicator: Option<String>,
    /// What the token for the indicator is asked with.
    pub(crate) scopes: Vec<String>,
    /// An access token that an API refused: it counts as expired.
    pub(crate) rejected: Option<Secret>,
    /// A token that was issued before this counts as expired.
    pub(crate) issued_since: Timestamp,
}

impl TokenRequest {
    /// Any token that is fresh.
    pub(crate) fn new(indicator: Option<String>, scopes: Vec<String>) -> Self {
        Self { indicator, scopes, rejected: None, issued_since: Timestamp::default() }
    }
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum TokenUnavailable {
    /// The person must grant (again), or the account's operator must act.
    Consent,
    /// It may work later.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The provider refuses the application, and not the grant: the operator must act.
    Operator(Arc<str>),
}

impl From<StoreError> for TokenUnavailable {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// What to do about a grant at this moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenAction {
    Serve,
    /// Serve, and refresh in the background.
    ServeAndRenew,
    Refresh,
    /// The provider has refused, and is left alone for so long.
    Wait(Duration),
    Consent,
}

pub(crate) fn is_rejected(set: &TokenSet, request: &TokenRequest) -> bool {
    request.rejected.as_ref() == Some(&set.access_token) || set.issued_at < request.issued_since
}

/// Whether an API refuses what came a moment ago for a token that it had refused.
pub(crate) fn is_rejected_again(grant: &Grant, request: &TokenRequest, now: Timestamp) -> bool {
    let again = |set: &TokenSet| is_rejected(set, request) && set.is_rejected_for_good(now);
    request.rejected.is_some() && grant.token_set(request.indicator.as_deref()).is_some_and(again)
}

/// Decides from the grant alone.
pub(crate) fn next(grant: &Grant, request: &TokenRequest, now: Timestamp, spread: u8) -> TokenAction {
    if grant.status != GrantStatus::Active || is_rejected_again(grant, request, now) {
        return TokenAction::Consent;
    }
    let set = grant.token_set(request.indicator.as_deref()).filter(|set| !is_rejected(set, request));
    // What the refresh token cannot bring again serves to its last moment.
    let wider = set.is_some_and(|set| grant.is_wider(set) && set.lives(now));
    if !wider && grant.lapses(&request.scopes) {
        return TokenAction::Consent;
    }
    let can_refresh = grant.can_renew() && !wider;
    let hold = grant.hold.map_or(Duration::ZERO, |hold| hold.left(now));
    let may_ask = can_refresh && hold.is_zero();
    match set.map(|set| (set.freshness(now, spread), set.expires_at)) {
        Some((Freshness::Fresh, _)) => TokenAction::Serve,
        Some((Freshness::Aging, _)) if may_ask => TokenAction::ServeAndRenew,
        // Nothing can replace it: it serves to its last moment.
        Some((_, end)) if !may_ask && end.is_none_or(|end| now < end) => TokenAction::Serve,
        _ if may_ask => TokenAction::Refresh,
        _ if can_refresh => TokenAction::Wait(hold),
        _ => TokenAction::Consent,
    }
}

impl GrantRef {
    /// The grant as it is kept, fresh or not, or as it would begin.
    pub(crate) async fn stored(&self) -> Result<Option<Arc<Grant>>, StoreError> {
        let kept = self.read().await?.map(|held| held.grant);
        Ok(kept.or_else(|| self.beginning().map(Arc::new)))
    }

    /// The same; what begins is written, unless somebody else was first.
    pub(crate) async fn stored_or_begun(&self) -> Result<Option<Arc<Grant>>, StoreError> {
        let records = &self.runtime.records;
        loop {
            if let Some(held) = self.read().await? {
                return Ok(Some(held.grant));
            }
            let Some(mut grant) = self.beginning() else { return Ok(None) };
            let version = match records.load::<Grant>(&self.row).await? {
                Loaded::Found(found) if self.holds(&found.value) => continue,
                Loaded::Found(found) => {
                    // A refresh that is under way for what is replaced finds a newer generation, and adopts it.
                    grant.generation = found.value.generation + 1;
                    Some(found.version)
                }
                Loaded::Absent(version) => version,
                Loaded::Unreadable => continue,
            };
            if records.swap(&self.row, version, &grant, FOREVER, Vec::new()).await?.is_some() {
                return Ok(Some(Arc::new(grant)));
            }
        }
    }

    /// The grant with its row's version and expiry; `None` where none counts.
    pub(crate) async fn read(&self) -> Result<Option<StoredGrant>, StoreError> {
        let asked = ObservedAt { at: self.runtime.clock.reading(), heard: self.runtime.records.invalidations.heard() };
        let shown = self.shown(asked.at.wall).map_err(|Unreadable| unreadable())?;
        let loaded = match self.load(shown.as_ref()).await? {
            Loaded::Found(found) if !self.holds(&found.value) => Loaded::Absent(Some(found.version)),
            loaded => loaded,
        };
        self.counting(shown, loaded, asked)
    }

    /// The newer of what the browser shows and what lies where processes meet.
    pub(super) fn newer(
        &self, (cookie, shown): (&GrantCookie, Option<Arc<Grant>>), loaded: Loaded<Grant>, asked: ObservedAt,
    ) -> Result<Option<StoredGrant>, StoreError> {
        let now = self.runtime.now();
        let held =
            |grant: Arc<Grant>, version| Ok(Some(StoredGrant { expires_at: cookie.until_of(&grant), grant, version }));
        let nothing_above = |generation, until| {
            let limit = self.runtime.settings.max_staleness;
            self.newest.put(Observed { value: generation, asked, limit, until });
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
                self.newest.forget_below(found.value.generation);
                match shown.filter(|shown| shown.generation == found.value.generation) {
                    Some(shown) => {
                        let until = self.let_go(&found, now);
                        // Of two that both were made of an older one, the row's counts.
                        let same = shown.refresh_token == found.value.refresh_token;
                        if same && found.value.status == GrantStatus::Active {
                            nothing_above(found.value.generation, until);
                        }
                    }
                    None => cookie.note(&Arc::new(found.value.clone())),
                }
                match found.value.status {
                    GrantStatus::Revoked => Ok(None),
                    _ => held(Arc::new(found.value), Some(found.version)),
                }
            }
        }
    }

    /// The token, where it is fresh and the store was asked a moment ago: the browser shows it, or this process has read
    /// it. It asks nobody.
    pub(crate) fn known_token(&self, request: &TokenRequest) -> Option<Secret> {
        let reading = self.runtime.clock.reading();
        let (grant, now) = (self.known(reading)?, reading.wall);
        if next(&grant, request, now, self.spread()) != TokenAction::Serve {
            return None;
        }
        let set = grant.token_set(request.indicator.as_deref())?;
        (set.freshness(now, 0) != Freshness::Expired).then(|| set.access_token.clone())
    }
}

#[cfg(test)]
mod tests;
