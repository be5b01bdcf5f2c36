//! One refresh: the refresh token is spent, and the response is verified, written, and only then used. The
//! [refresh protocol](crate::tokens::refresh_protocol) decides each step; this module carries it out.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::account_status::ROTATED;
use super::disconnect::{Unkept, discard};
use super::locate::{GrantRef, StoredGrant};
use super::lookup::TokenRequest;
use super::refresh_protocol::{Action, Conclusion, EndReason, Input, LEASE, NextRow, RefreshMachine};
use super::user_claims::adopt_refreshed;
use crate::clock::Timestamp;
use crate::config::GrantLifetime;
use crate::error::RetryLater;
use crate::events::EventCode;
use crate::protocol::{IdToken, TokenResponse};
use crate::provider::{ProviderError, cause};
use crate::records::{Grant, GrantStatus, Lease, RefreshHold};
use crate::secret::Secret;
use crate::state::in_flight::RefreshOutcome;
use crate::store::{StoreErrorKind, Version};

/// Between two attempts at what cannot be given up; doubling up to the second.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(50);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(2);

/// `None` is the version of a row that is not there: only the browser has the grant.
pub(super) type RowVersion = Option<Version>;

pub(super) type TaskInput = Input<RowVersion, Option<Secret>>;

/// Refreshes to the newest generation of the grant.
pub(crate) async fn refresh(place: &GrantRef, request: &TokenRequest, turn: OwnedSemaphorePermit) -> RefreshOutcome {
    let mut task = RefreshTask {
        place,
        request,
        turn: Some(turn),
        attempt: None,
        holder: place.runtime.random.bytes(),
        found: None,
        spent: None,
        response: None,
        asked_at: Timestamp::default(),
        came_at: Timestamp::default(),
        id_token: None,
        refused: false,
        hold: None,
        why: None,
        pause: FIRST_RETRY,
    };
    let (mut machine, mut action) = RefreshMachine::start();
    loop {
        let event = match action {
            Action::Read => task.read().await,
            Action::Wait { version, within } => task.wait(version, within).await,
            Action::Ready => task.ready().await,
            Action::Swap { expected, to } => task.swap(expected, to).await,
            Action::Ask => {
                let asked = task.asked();
                let answer = task.while_renewing(&mut machine, asked).await;
                task.answered(answer)
            }
            Action::Verify => {
                task.write_rotated(&mut machine).await;
                let verified = task.verified();
                let verified = task.while_renewing(&mut machine, verified).await;
                task.judged(verified)
            }
            Action::Pause => task.pause().await,
            Action::Finish(conclusion) => return task.finish(conclusion).await,
        };
        action = machine.next(event);
    }
}

pub(super) struct RefreshTask<'a> {
    pub(super) place: &'a GrantRef,
    pub(super) request: &'a TokenRequest,
    /// At the store, until it waits for somebody else.
    pub(super) turn: Option<OwnedSemaphorePermit>,
    /// At the provider, from before the lease on.
    pub(super) attempt: Option<Attempt<'a>>,
    /// Names this refresh in its leases.
    pub(super) holder: [u8; 16],
    /// What was read or written last.
    pub(super) found: Option<StoredGrant>,
    /// The grant whose refresh token was spent.
    pub(super) spent: Option<Arc<Grant>>,
    /// When the refresh token was spent...
    pub(super) asked_at: Timestamp,
    /// ...what came for it...
    pub(super) response: Option<Arc<TokenResponse>>,
    /// ...when, from which its life is counted, however long the store is away...
    pub(super) came_at: Timestamp,
    /// ...whom it names...
    pub(super) id_token: Option<IdToken>,
    /// ...and must not be used.
    pub(super) refused: bool,
    /// How long the provider is left alone from now on.
    pub(super) hold: Option<RefreshHold>,
    pub(super) why: Option<RequestFailure>,
    pub(super) pause: Duration,
}

impl<'a> RefreshTask<'a> {
    pub(super) async fn read(&mut self) -> TaskInput {
        match self.place.read().await {
            Ok(Some(found)) => {
                let row = self.row(&found);
                self.found = Some(found);
                Input::Read(Some(row))
            }
            Ok(None) => Input::Read(None),
            Err(error) => self.fails(error),
        }
    }

    async fn wait(&mut self, version: RowVersion, within: Duration) -> TaskInput {
        (self.turn, self.attempt) = (None, None);
        // A store may return too early: whether the time is over is not for it to say.
        let late = within + Duration::from_secs(1);
        let changed = self.place.runtime.records.wait(self.place.row.key, version, late);
        tokio::select! {
            biased;
            () = tokio::time::sleep(within) => Input::Waited { whole: true },
            changed = changed => changed.map_or_else(|error| self.fails(error), |()| Input::Waited { whole: false }),
        }
    }

    /// First the keys: nothing is spent for an answer that could not be verified, and no lease runs out for them. Nor is
    /// one taken where the provider is away.
    async fn ready(&mut self) -> TaskInput {
        let place = self.place;
        // One that was overtaken at the store is admitted still. One that the provider did not answer asks like any other.
        drop(self.attempt.take_if(|attempt| attempt.failed.is_some()));
        if self.attempt.is_none() {
            let now = place.runtime.clock.monotonic();
            if let Err(left) = place.provider().breaker.lock().admit(place.row.key, now) {
                self.why = Some(RequestFailure::HeldBack(left));
                return Input::Ready(false);
            }
            self.attempt = Some(Attempt { place, failed: None });
        }
        let ready = place.provider().ready().await;
        Input::Ready(ready.map_err(|error| self.why = Some(RequestFailure::Provider(error))).is_ok())
    }

    pub(super) async fn swap(&mut self, expected: RowVersion, to: NextRow) -> TaskInput {
        let Some(StoredGrant { grant, expires_at, .. }) = &self.found else {
            return Input::Swapped(None);
        };
        let (now, expires_at) = (self.place.runtime.now(), *expires_at);
        let lease = Lease { holder: self.holder, until: now.saturating_add(LEASE) };
        let next = match (to, &self.response) {
            (NextRow::Leased, _) => {
                let refresh_token = self.rotated_unverified().or_else(|| grant.refresh_token.clone());
                // A generation of its own: a browser that shows the one before it is given this one.
                let generation = grant.generation + u64::from(refresh_token != grant.refresh_token);
                Grant { lease: Some(lease), generation, refresh_token, ..Grant::clone(grant) }
            }
            (NextRow::Refreshed, Some(response)) => {
                let spent = self.spent.as_ref().unwrap_or(grant);
                let TokenRequest { indicator, rejected, .. } = self.request;
                let (indicator, rejected) = (indicator.as_deref(), rejected.as_ref());
                let mut next = grant.refreshed(response, indicator, self.came_at, spent, rejected);
                next.original = next.original.or_else(|| Some(self.id_token.as_ref()?.facts.clone()));
                next
            }
            (NextRow::Refreshed, None) | (NextRow::Released, _) => {
                Grant { lease: None, hold: self.hold.or(grant.hold), ..Grant::clone(grant) }
            }
            (NextRow::Stripped, _) => grant.without_refresh_token(),
            (NextRow::Ended(EndReason::AnotherOwner), _) => grant.tombstone(GrantStatus::OwnerMismatch),
            (NextRow::Ended(EndReason::InvalidGrant | EndReason::Unverified), _) => grant.refused(now),
        };
        let row = &self.place.row;
        match self.place.runtime.records.swap(row, expected, &next, expires_at, vec![]).await {
            Ok(Some(version)) => {
                let rotated = next.has_left_its_seed() && !grant.has_left_its_seed();
                if rotated && !self.place.runtime.records.is_durable() {
                    self.tell(EventCode::NeedsOperator, ROTATED);
                }
                if to == NextRow::Stripped {
                    self.tell_why(EventCode::RefreshRefused);
                }
                let (grant, version) = (Arc::new(next), Some(version));
                self.found = Some(StoredGrant { grant, version, expires_at });
                Input::Swapped(Some(version))
            }
            Ok(None) => Input::Swapped(None),
            // Without the lease others may try at once. Where that fails, they wait until it runs out.
            Err(_) if to == NextRow::Released => Input::StoreFailed,
            Err(error) => {
                let is_refused = error.kind() == StoreErrorKind::Refused;
                if to == NextRow::Refreshed && (is_refused || self.pause == FIRST_RETRY) {
                    let detail = format!("the new tokens are not written: {}", cause(&error));
                    self.tell(EventCode::RefreshPersistFailed, &detail);
                }
                let failed = self.fails(error);
                if is_refused { Input::StoreRefused } else { failed }
            }
        }
    }

    pub(super) async fn pause(&mut self) -> TaskInput {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_RETRY);
        Input::Paused
    }

    async fn finish(self, conclusion: Conclusion) -> RefreshOutcome {
        if let (Conclusion::Written, Some(response)) = (conclusion, &self.response) {
            adopt_refreshed(self.place, self.id_token.as_ref(), response, self.asked_at).await;
        }
        match conclusion {
            Conclusion::Written => self.tell(EventCode::RefreshSucceeded, "a new access token"),
            Conclusion::Found => self.tell(EventCode::RefreshAdopted, "somebody else refreshed it"),
            Conclusion::Ended(EndReason::AnotherOwner) => self.tell_why(EventCode::RefreshOwnerMismatch),
            Conclusion::Ended(_) => self.tell_why(EventCode::RefreshRefused),
            Conclusion::Unavailable => self.tell_why(EventCode::RefreshFailed),
            Conclusion::Gone => {}
        }
        // Only now: a provider that is slow to revoke must not keep the grant usable.
        if let Some(response) = self.response.as_ref().filter(|_| self.refused || conclusion == Conclusion::Gone) {
            let taken_back = !self.refused && self.is_taken_back();
            let why = if taken_back { Unkept::TakenBack } else { Unkept::Refused };
            discard(&self.place.runtime, self.place.provider(), response, self.place.owner.user(), why).await;
        }
        // The refresh token may have been rotated all the same.
        if let (Some(spent), Some(found)) = (&self.spent, &self.found) {
            self.place.note(spent, &found.grant);
        }
        match (conclusion, self.found, self.why) {
            (Conclusion::Written | Conclusion::Found, Some(found), _) => RefreshOutcome::Grant(found.grant),
            (Conclusion::Unavailable, _, why) => {
                let left = self.hold.map_or(Duration::ZERO, |hold| hold.left(self.place.runtime.now()));
                let given_up = || RequestFailure::Store("the refresh was given up".to_owned());
                why.unwrap_or_else(given_up).outcome(self.request, left)
            }
            // The grant is over, or gone: whoever comes next reads so.
            _ => RefreshOutcome::Consent,
        }
    }

    /// A grant that is kept until it is taken back was taken back. One that ended with its session is revoked as a
    /// logout does.
    fn is_taken_back(&self) -> bool {
        let connection = self.place.registered();
        self.place.provider().relying_party.revoke_at_logout
            || connection.is_some_and(|connection| connection.grant_lifetime == GrantLifetime::Persistent)
    }

    fn fails(&mut self, why: impl Display) -> TaskInput {
        self.why = Some(RequestFailure::Store(why.to_string()));
        Input::StoreFailed
    }

    /// Tells what the provider said, if it was the provider that failed.
    fn tell_why(&self, code: EventCode) {
        if let Some(RequestFailure::Provider(why)) = &self.why {
            self.tell(code, &cause(why));
        }
    }

    fn tell(&self, code: EventCode, detail: &str) {
        self.place.runtime.events().emit(code, self.place.owner.user(), detail);
    }
}

/// A refresh that its provider's breaker has admitted.
pub(super) struct Attempt<'a> {
    place: &'a GrantRef,
    /// The provider is away, and asks to be left alone for so long.
    pub(super) failed: Option<Duration>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let (Self { place, failed }, [spread]) = (&*self, self.place.runtime.random.bytes());
        let now = place.runtime.clock.monotonic();
        place.provider().breaker.lock().ended(place.row.key, *failed, now, spread);
    }
}

/// What failed last.
pub(super) enum RequestFailure {
    /// The provider is away, and is left alone for so long.
    HeldBack(Duration),
    Provider(ProviderError),
    Store(String),
}

impl RequestFailure {
    /// The outcome of a refresh that failed so and left the grant as it was; the provider is left alone for so long.
    fn outcome(self, request: &TokenRequest, left: Duration) -> RefreshOutcome {
        let later = match self {
            Self::Provider(why) => {
                let reason = why.to_string();
                if let (ProviderError::Refused(refusal), true) = (&why, left.is_zero()) {
                    // It is about the resource that a token was asked for, or its scopes, and nothing else.
                    let is_about_one = matches!(refusal.code.as_deref(), Some("invalid_target" | "invalid_scope"));
                    let only = request.indicator.clone().filter(|_| is_about_one);
                    return RefreshOutcome::Refused { only, reason: reason.into() };
                }
                RetryLater::new(reason, left)
            }
            Self::Store(why) => RetryLater::new(why, Duration::ZERO),
            Self::HeldBack(left) => RetryLater::new("the provider is away", left),
        };
        RefreshOutcome::Unavailable(later)
    }
}
