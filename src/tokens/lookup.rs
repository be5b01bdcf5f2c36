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
mod tests {
    use super::*;
    use crate::records::{Earlier, GrantSource, LOGIN, Owner, RefreshHold};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.saturating_add(Duration::from_secs(seconds))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// With a token of an hour, which can be refreshed.
    fn grant() -> Grant {
        let set = TokenSet {
            indicator: None,
            scopes: None,
            access_token: "at".into(),
            issued_at: NOW,
            expires_at: Some(after(3600)),
            after_rejection: false,
        };
        let owner = Owner::Account { name: "a".to_owned() };
        Grant {
            refresh_token: Some("rt".into()),
            token_sets: vec![set],
            ..Grant::new(owner, [0; 32], LOGIN, GrantSource::Consent)
        }
    }

    fn any() -> TokenRequest {
        TokenRequest::new(None, Vec::new())
    }

    /// What is done after so many seconds, without a spread.
    fn assert_next(grant: &Grant, request: &TokenRequest, steps: &[(u64, TokenAction)]) {
        for (seconds, expected) in steps {
            assert_eq!(next(grant, request, after(*seconds), 0), *expected, "{seconds}");
        }
    }

    /// It is replaced early while that is possible, and otherwise serves to its last moment.
    #[test]
    fn what_is_done_depends_on_how_long_the_token_lives_and_on_what_can_replace_it() {
        use TokenAction::{Consent, Refresh, Serve, ServeAndRenew, Wait};
        let renewed = [(0, Serve), (3534, Serve), (3535, ServeAndRenew), (3594, ServeAndRenew), (3595, Refresh)];
        assert_next(&grant(), &any(), &renewed);
        let origin = GrantSource::ClientCredentials;
        assert_next(&Grant { refresh_token: None, origin, ..grant() }, &any(), &renewed);
        let alone = Grant { refresh_token: None, ..grant() };
        assert_next(&alone, &any(), &[(0, Serve), (3535, Serve), (3599, Serve), (3600, Consent)]);
        let hold = Some(RefreshHold { since: NOW, times: 1, until: after(4000) });
        let held = Grant { hold, ..grant() };
        let left = |seconds| Wait(Duration::from_secs(seconds));
        assert_next(&held, &any(), &[(3599, Serve), (3600, left(400)), (3999, left(1)), (4000, Refresh)]);
        assert_next(&Grant { refresh_token: None, ..held }, &any(), &[(3599, Serve), (3600, Consent)]);
        assert_next(&Grant { token_sets: Vec::new(), ..grant() }, &any(), &[(0, Refresh)]);
        assert_next(&Grant { token_sets: Vec::new(), ..alone }, &any(), &[(0, Consent)]);
        let api = TokenRequest::new(Some("api".to_owned()), Vec::new());
        assert_next(&grant(), &api, &[(0, Refresh)]);
    }

    #[test]
    fn a_grant_that_has_ended_serves_nothing() {
        use GrantStatus::{OwnerMismatch, Refused, RefusedAgain, Revoked};
        for status in [Refused, RefusedAgain, OwnerMismatch, Revoked] {
            assert_next(&Grant { status, ..grant() }, &any(), &[(0, TokenAction::Consent)]);
        }
    }

    /// It counts as expired. Where it came for another one that was refused a moment ago, a third would be refused, too.
    #[test]
    fn a_token_that_an_api_refused_is_replaced_once() {
        use TokenAction::{Consent, Refresh, Serve};
        let of = |rejected: &str| TokenRequest { rejected: Some(rejected.into()), ..any() };
        assert_next(&grant(), &of("at"), &[(0, Refresh)]);
        assert_next(&grant(), &of("another"), &[(0, Serve)]);
        assert_next(&Grant { refresh_token: None, ..grant() }, &of("at"), &[(0, Consent)]);
        let mut second = grant();
        second.token_sets[0].after_rejection = true;
        assert_next(&second, &of("at"), &[(0, Consent), (59, Consent), (60, Refresh)]);
        assert_next(&second, &of("another"), &[(0, Serve)]);
        let since = |seconds| TokenRequest { issued_since: after(seconds), ..any() };
        assert_next(&grant(), &since(0), &[(0, Serve)]);
        assert_next(&grant(), &since(1), &[(1, Refresh)]);
        assert_next(&second, &since(1), &[(1, Refresh)]);
    }

    /// Scopes that a consent brought without a refresh token end with its access token.
    #[test]
    fn what_the_refresh_token_cannot_bring_again_serves_to_its_last_moment() {
        use TokenAction::{Consent, Refresh, Serve};
        let mut wider = grant();
        wider.earlier = Some(Earlier {
            scopes: texts(&["a"]),
            lapsing: texts(&["c"]),
            consents: 1,
            unrefreshed: true,
            prompted: false,
        });
        wider.token_sets[0].scopes = Some(texts(&["a", "c"]));
        let of = |scope: &str| TokenRequest::new(None, texts(&[scope]));
        assert_next(&wider, &of("c"), &[(0, Serve), (3595, Serve), (3599, Serve), (3600, Consent)]);
        assert_next(&wider, &of("a"), &[(0, Serve), (3599, Serve), (3600, Refresh)]);
        wider.token_sets[0].scopes = None;
        assert_next(&wider, &of("c"), &[(0, Consent)]);
        assert_next(&wider, &of("a"), &[(0, Serve), (3595, Refresh)]);
    }
}
