//! One refresh for one grant and one expiry, however many requests wait.
//!
//! ```text
//! read ─► good enough? serve
//!      ─► leased by somebody? wait for the row to change, read again
//!      ─► take the lease (compare-and-swap) ─► ask the provider ─► verify the owner ─► write ─► wake the others
//! ```
//!
//! 1. A flight refreshes one grant. It runs in a task of its own: a client that hangs up cancels nothing.
//! 2. Whoever waited reads again before concluding anything.
//! 3. A new generation is written before anybody uses it. While the store fails it stays in this task, which
//!    tries until it is written, or until a newer one or none is there.
//! 4. `invalid_grant` ends a grant only if it is still at the generation whose token was refused.
//! 5. An answer that was lost is asked for once more; whatever comes then counts.
//! 6. What is deleted while the provider is asked stays deleted, and what came for it is revoked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::sign_in::revoke;
use crate::ambient::Timestamp;
use crate::events::EventCode;
use crate::grant::{Freshness, Grant, Lease, Owner, Standing, TokenSet};
use crate::outbound::CALL_DEADLINE;
use crate::protocol::id_token::{IdTokenError, Occasion};
use crate::protocol::token::TokenResponse;
use crate::provider::{ProviderError, cause};
use crate::records::{Loaded, Row};
use crate::runtime::Runtime;
use crate::secret::Secret;
use crate::store::{Key, StoreError, Version};

/// How long a lease holds: two calls to the provider, and what the store takes.
const LEASE: Duration = Duration::from_secs(2 * CALL_DEADLINE.as_secs() + 10);
/// After a failure that passes, a grant's provider is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for a flight. The flight goes on after that.
const PATIENCE: Duration = Duration::from_secs(25);
/// Between two attempts to write a new generation; doubling up to the second.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// A grant's row, and whose it must be.
#[derive(Clone, Debug)]
pub(crate) struct GrantPlace {
    pub(crate) row: Row,
    pub(crate) owner: Owner,
}

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

/// The flights of this process.
#[derive(Default)]
pub(crate) struct Refreshes(Mutex<State>);

#[derive(Default)]
struct State {
    flights: HashMap<Key, watch::Receiver<Option<Landing>>>,
    /// Grants whose provider failed a moment ago.
    pauses: HashMap<Key, Timestamp>,
}

/// How a flight ended, for everybody who waited.
#[derive(Clone)]
enum Landing {
    /// There is a grant to look at.
    Grant(Arc<Grant>),
    Consent,
    Unavailable(Arc<str>),
}

/// What to do about a grant at this moment.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Serve,
    /// Serve, and refresh in the background.
    ServeAndRenew,
    Refresh,
    Consent,
}

/// The access token that is wanted, fresh.
pub(crate) async fn access_token(
    runtime: &Arc<Runtime>,
    place: &GrantPlace,
    want: &Want,
) -> Result<TokenSet, NoToken> {
    let mut grant = Arc::new(read(runtime, place).await?.ok_or(NoToken::Consent)?.0);
    // Flights for other resources of the same grant may land first.
    for _ in 0..8 {
        let now = runtime.now();
        let spread = place.row.key.0[1];
        let usable = grant.token_set(want.indicator.as_deref()).filter(|set| !is_rejected(set, want));
        match (next(&grant, want, now, spread), usable) {
            (Step::Serve, Some(set)) => return Ok(set.clone()),
            (Step::ServeAndRenew, Some(set)) => {
                runtime.refreshes.board(runtime, place, want);
                return Ok(set.clone());
            }
            (Step::Consent, _) => return Err(NoToken::Consent),
            (_, usable) => match wait(runtime.refreshes.board(runtime, place, want)).await {
                Landing::Grant(landed) => grant = landed,
                Landing::Consent => return Err(NoToken::Consent),
                Landing::Unavailable(reason) => {
                    // What is not quite over is better than nothing.
                    let alive = usable.filter(|set| set.expires_at.is_none_or(|end| runtime.now() < end));
                    return alive.cloned().ok_or_else(|| NoToken::Unavailable(reason.as_ref().into()));
                }
            },
        }
    }
    Err(NoToken::Unavailable("the grant keeps changing".into()))
}

fn is_rejected(set: &TokenSet, want: &Want) -> bool {
    want.rejected.as_ref() == Some(&set.access_token)
}

fn next(grant: &Grant, want: &Want, now: Timestamp, spread: u8) -> Step {
    if grant.standing != Standing::Good {
        return Step::Consent;
    }
    let set = grant.token_set(want.indicator.as_deref()).filter(|set| !is_rejected(set, want));
    let can_refresh = grant.refresh_token.is_some();
    match set.map(|set| (set.freshness(now, spread), set.expires_at)) {
        Some((Freshness::Fresh, _)) => Step::Serve,
        Some((Freshness::Aging, _)) if can_refresh => Step::ServeAndRenew,
        // Nothing can replace it: it serves to its last moment.
        Some((_, end)) if !can_refresh && end.is_none_or(|end| now < end) => Step::Serve,
        _ if can_refresh => Step::Refresh,
        _ => Step::Consent,
    }
}

/// The grant as it is kept, fresh or not.
pub(crate) async fn stored(runtime: &Runtime, place: &GrantPlace) -> Result<Option<Grant>, NoToken> {
    Ok(read(runtime, place).await?.map(|(grant, ..)| grant))
}

async fn read(runtime: &Runtime, place: &GrantPlace) -> Result<Option<(Grant, Version, Timestamp)>, NoToken> {
    match runtime.records.load::<Grant>(&place.row).await? {
        // The seal is bound to the owner; this is the same wall in the contents.
        Loaded::Found(found) if found.value.owner == place.owner => {
            Ok(Some((found.value, found.version, found.expires_at)))
        }
        Loaded::Found(_) | Loaded::Absent(_) => Ok(None),
        Loaded::Unreadable => {
            Err(NoToken::Unavailable("the grant is sealed with a secret that is not configured".into()))
        }
    }
}

async fn wait(mut flight: watch::Receiver<Option<Landing>>) -> Landing {
    let landed = async {
        match flight.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone(),
            Err(_) => None,
        }
    };
    match tokio::time::timeout(PATIENCE, landed).await {
        Ok(Some(landing)) => landing,
        Ok(None) => Landing::Unavailable("the refresh was given up".into()),
        Err(_) => Landing::Unavailable("the provider or the store takes too long".into()),
    }
}

impl Refreshes {
    /// The flight that is under way for this grant, or a new one.
    fn board(
        &self,
        runtime: &Arc<Runtime>,
        place: &GrantPlace,
        want: &Want,
    ) -> watch::Receiver<Option<Landing>> {
        let key = place.row.key;
        let mut state = self.state();
        if let Some(flight) = state.flights.get(&key) {
            return flight.clone();
        }
        let now = runtime.now();
        state.pauses.retain(|_, until| now < *until);
        if state.pauses.contains_key(&key) {
            return watch::channel(Some(Landing::Unavailable("the provider failed a moment ago".into()))).1;
        }
        let (landing, flight) = watch::channel(None);
        state.flights.insert(key, flight.clone());
        drop(state);
        let (runtime, place, want) = (Arc::clone(runtime), place.clone(), want.clone());
        let tasks = runtime.tasks.clone();
        tasks.spawn(async move {
            let seat = Seat { runtime, key };
            let landed = match refresh(&seat.runtime, &place, &want).await {
                Ok(grant) => Landing::Grant(Arc::new(grant)),
                Err(NoToken::Consent) => Landing::Consent,
                Err(NoToken::Unavailable(reason)) => {
                    let until = seat.runtime.now().plus(PAUSE);
                    seat.runtime.refreshes.state().pauses.insert(key, until);
                    Landing::Unavailable(reason.to_string().into())
                }
            };
            // Gone from the list before it lands: whoever comes later starts from what is written.
            drop(seat);
            let _ = landing.send(Some(landed));
        });
        flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flight's place in the list, given up also when its task panics.
struct Seat {
    runtime: Arc<Runtime>,
    key: Key,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.runtime.refreshes.state().flights.remove(&self.key);
    }
}

/// One flight: to the newest generation of the grant.
async fn refresh(runtime: &Arc<Runtime>, place: &GrantPlace, want: &Want) -> Result<Grant, NoToken> {
    loop {
        let (grant, version, expires_at) = read(runtime, place).await?.ok_or(NoToken::Consent)?;
        let now = runtime.now();
        match next(&grant, want, now, place.row.key.0[1]) {
            Step::Serve => {
                runtime.events().emit(EventCode::RefreshAdopted, place.user(), "somebody else refreshed it");
                return Ok(grant);
            }
            Step::Consent => return Err(NoToken::Consent),
            Step::ServeAndRenew | Step::Refresh => {}
        }
        if let Some(lease) = grant.lease.as_ref().filter(|lease| now < lease.until) {
            runtime.records.wait(place.row.key, version, lease.until.since(now)).await?;
            continue;
        }
        let lease = Lease { holder: runtime.random.bytes(), until: now.plus(LEASE) };
        let leased = Grant { lease: Some(lease), ..grant.clone() };
        if let Some(version) =
            runtime.records.swap(&place.row, Some(version), &leased, expires_at, vec![]).await?
        {
            return Spend { runtime, place, want, grant, version, expires_at }.run().await;
        }
    }
}

/// The lease is ours: the refresh token is spent here and nowhere else.
struct Spend<'a> {
    runtime: &'a Arc<Runtime>,
    place: &'a GrantPlace,
    want: &'a Want,
    /// As it was before the lease.
    grant: Grant,
    /// Of the row with the lease.
    version: Version,
    expires_at: Timestamp,
}

impl Spend<'_> {
    async fn run(self) -> Result<Grant, NoToken> {
        let provider = &self.runtime.provider;
        let indicator = self.want.indicator.as_deref();
        let Some(refresh_token) = &self.grant.refresh_token else { return Err(NoToken::Consent) };
        let mut answer = provider.refresh(refresh_token, indicator, &self.want.scopes).await;
        if matches!(answer, Err(ProviderError::Unavailable(_) | ProviderError::Malformed(_))) {
            // Lost on its way, perhaps after the provider had rotated: providers that forgive a repeated
            // request do so for a moment only.
            answer = provider.refresh(refresh_token, indicator, &self.want.scopes).await;
        }
        match answer {
            Ok(response) => self.receive(response).await,
            // RFC 6749 section 5.2: invalid, expired or revoked. Every other code is about us, not the grant.
            Err(ProviderError::Refused(code)) if code == "invalid_grant" => {
                self.end_unless_newer(Standing::Refused, EventCode::RefreshRefused, "invalid_grant").await
            }
            Err(error) => {
                self.tell(EventCode::RefreshFailed, &cause(&error));
                // Without the lease others may try at once. If this fails, they wait until it runs out.
                let _ = self.write(self.version, &self.grant).await;
                Err(NoToken::Unavailable(Box::new(error)))
            }
        }
    }

    async fn receive(self, response: TokenResponse) -> Result<Grant, NoToken> {
        if let Err(error) = self.verify(&response).await {
            let (standing, code) = match error {
                ProviderError::IdToken(IdTokenError::AnotherOwner(_)) => {
                    (Standing::AnotherOwner, EventCode::RefreshAnotherOwner)
                }
                _ => (Standing::Refused, EventCode::RefreshRefused),
            };
            revoke(self.runtime, &response).await;
            return self.end_unless_newer(standing, code, &cause(&error)).await;
        }
        let next = self.grant.refreshed(&response, self.want.indicator.as_deref(), self.runtime.now());
        let (mut expected, mut pause) = (self.version, FIRST_RETRY);
        loop {
            match self.write(expected, &next).await {
                Ok(Some(_)) => {
                    self.tell(EventCode::RefreshSucceeded, "a new access token");
                    return Ok(next);
                }
                Ok(None) => match read(self.runtime, self.place).await {
                    // Deleted while the provider was asked: nothing is brought back.
                    Ok(None) => {
                        revoke(self.runtime, &response).await;
                        return Err(NoToken::Consent);
                    }
                    // Newer, or ours after all: a store may write and fail to say so.
                    Ok(Some((current, ..))) if current.generation >= next.generation => return Ok(current),
                    // Somebody took a lease that had run out. What we hold is newer than what they will spend.
                    Ok(Some((_, version, _))) => {
                        expected = version;
                        continue;
                    }
                    Err(_) => {}
                },
                Err(_) => {}
            }
            if pause == FIRST_RETRY {
                self.tell(EventCode::RefreshNotWritten, "the store fails; the new tokens are kept in memory");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// OpenID Connect Core 1.0 section 12.2. An ID token need not come; one that comes must hold.
    async fn verify(&self, response: &TokenResponse) -> Result<(), ProviderError> {
        let Some(id_token) = &response.id_token else { return Ok(()) };
        let mut pause = FIRST_RETRY;
        loop {
            let occasion = Occasion::Refresh { original: &self.grant.facts };
            match self.runtime.provider.verify(id_token, &response.access_token, occasion).await {
                // Only the keys are missing: the tokens are worth some patience.
                Err(error) if error.passes() && pause < LAST_RETRY => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                verified => return verified.map(drop),
            }
        }
    }

    /// Ends the grant, unless somebody brought it to a newer generation: that one counts.
    async fn end_unless_newer(
        self,
        standing: Standing,
        code: EventCode,
        why: &str,
    ) -> Result<Grant, NoToken> {
        loop {
            let Some((current, version, _)) = read(self.runtime, self.place).await? else {
                return Err(NoToken::Consent);
            };
            if current.generation > self.grant.generation {
                self.tell(EventCode::RefreshAdopted, "somebody else refreshed it");
                return Ok(current);
            }
            if self.write(version, &current.tombstone(standing)).await?.is_some() {
                self.tell(code, why);
                return Err(NoToken::Consent);
            }
        }
    }

    async fn write(&self, expected: Version, grant: &Grant) -> Result<Option<Version>, StoreError> {
        self.runtime.records.swap(&self.place.row, Some(expected), grant, self.expires_at, vec![]).await
    }

    fn tell(&self, code: EventCode, detail: &str) {
        self.runtime.events().emit(code, self.place.user(), detail);
    }
}

impl GrantPlace {
    /// For events.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        match &self.owner {
            Owner::User { issuer, subject } => Some((issuer, subject)),
        }
    }
}
