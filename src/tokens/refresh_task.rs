//! One flight: a grant's refresh token is spent, and what comes for it is verified, written, and only then used. What
//! to do next is decided in [`refreshing`](crate::tokens::refresh_protocol); here it is done.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::account_status::ROTATED;
use super::locate::GrantPlace;
use super::lookup::{self, NoToken, Want, read};
use super::newer_id_token::adopt_refreshed;
use super::refresh_protocol::{Action, Answer, End, Event, LEASE, Landing, RENEW, Refresher, To};
use super::refresh_request::{FIRST_RETRY, LAST_RETRY, ask, verify};
use super::unkept::{Unkept, discard};
use crate::clock::Timestamp;
use crate::config::connection::GrantLifetime;
use crate::events::EventCode;
use crate::protocol::id_token::{IdToken, IdTokenError};
use crate::protocol::token::TokenResponse;
use crate::provider::error::ProviderError;
use crate::provider::{Provider, cause};
use crate::records::grant::{Grant, Lease, Standing};
use crate::secret::Secret;
use crate::state::Runtime;
use crate::store::{StoreErrorKind, Version};

/// `None` is the version of a row that is not there: only the browser has the grant.
type At = Option<Version>;

type Told = Event<At, Option<Secret>>;

/// To the newest generation of the grant.
pub(crate) async fn refresh(
    runtime: &Arc<Runtime>,
    place: &GrantPlace,
    want: &Want,
) -> Result<Arc<Grant>, NoToken> {
    let mut flying = Flying {
        runtime,
        place,
        want,
        holder: runtime.random.bytes(),
        found: None,
        spent: None,
        response: None,
        came_at: Timestamp::default(),
        id_token: None,
        refused: false,
        never_written: false,
        why: None,
        pause: FIRST_RETRY,
    };
    let (mut refresher, mut action) = Refresher::start();
    loop {
        let event = match action {
            Action::Read => flying.read().await,
            Action::Wait { version, within } => flying.wait(version, within).await,
            Action::Ready => flying.ready().await,
            Action::Swap { expected, to } => flying.swap(expected, to).await,
            Action::Ask => {
                let asked = flying.asked();
                let answer = flying.while_renewing(&mut refresher, asked).await;
                flying.answered(answer)
            }
            Action::Verify => {
                let verified = flying.verified();
                let verified = flying.while_renewing(&mut refresher, verified).await;
                flying.judged(verified)
            }
            Action::Pause if flying.never_written => return flying.land(Landing::Unavailable).await,
            Action::Pause => flying.pause().await,
            Action::Land(landing) => return flying.land(landing).await,
        };
        action = refresher.next(event);
    }
}

struct Flying<'a> {
    runtime: &'a Arc<Runtime>,
    place: &'a GrantPlace,
    want: &'a Want,
    /// Names this flight in its leases.
    holder: [u8; 16],
    /// What was read or written last.
    found: Option<lookup::Held>,
    /// The grant whose refresh token was spent.
    spent: Option<Arc<Grant>>,
    /// What came for the refresh token...
    response: Option<Arc<TokenResponse>>,
    /// ...when, from which its life is counted, however long the store is away...
    came_at: Timestamp,
    /// ...whom it names...
    id_token: Option<IdToken>,
    /// ...and must not be used.
    refused: bool,
    /// The store refuses the row, and would again.
    never_written: bool,
    why: Option<Failure>,
    pause: Duration,
}

/// What failed last.
enum Failure {
    Provider(ProviderError),
    Store(Box<dyn std::error::Error + Send + Sync>),
}

impl<'a> Flying<'a> {
    async fn read(&mut self) -> Told {
        match read(self.runtime, self.place).await {
            Ok(Some(found)) => {
                let (now, spread) = (self.runtime.now(), self.place.spread());
                let row = found.row(&self.holder, self.want, now, spread);
                self.found = Some(found);
                Event::Read(Some(row))
            }
            Ok(None) | Err(NoToken::Consent) => Event::Read(None),
            Err(NoToken::Unavailable(why)) => self.fails(why),
        }
    }

    async fn wait(&mut self, version: At, within: Duration) -> Told {
        // A store may return too early: whether the time is over is not for it to say.
        let late = within + Duration::from_secs(1);
        let changed = self.runtime.records.wait(self.place.row.key, version, late);
        tokio::select! {
            biased;
            () = tokio::time::sleep(within) => Event::Waited { whole: true },
            changed = changed => changed.map_or_else(|error| self.fails(error), |()| Event::Waited { whole: false }),
        }
    }

    /// First the keys: nothing is spent for an answer that could not be verified, and no lease runs out for them.
    async fn ready(&mut self) -> Told {
        let ready = self.provider().ready().await;
        Event::Ready(ready.map_err(|error| self.why = Some(Failure::Provider(error))).is_ok())
    }

    async fn swap(&mut self, expected: At, to: To) -> Told {
        let Some(lookup::Held { grant, expires_at, .. }) = &self.found else {
            return Event::Swapped(None);
        };
        let (now, expires_at) = (self.runtime.now(), *expires_at);
        let lease = Lease { holder: self.holder, until: now.plus(LEASE) };
        let next = match (to, &self.response) {
            (To::Leased, _) => Grant { lease: Some(lease), ..Grant::clone(grant) },
            (To::Refreshed, Some(response)) => {
                let spent = self.spent.as_ref().unwrap_or(grant);
                let mut next = grant.refreshed(response, self.want.indicator.as_deref(), self.came_at, spent);
                next.facts = next.facts.or_else(|| Some(self.id_token.as_ref()?.facts.clone()));
                next
            }
            (To::Refreshed, None) | (To::Released, _) => Grant { lease: None, ..Grant::clone(grant) },
            (To::Stripped, _) => grant.without_refresh_token(),
            (To::Ended(End::AnotherOwner), _) => grant.tombstone(Standing::AnotherOwner),
            (To::Ended(End::InvalidGrant | End::Unverified), _) => grant.tombstone(Standing::Refused),
        };
        let row = &self.place.row;
        match self.runtime.records.swap(row, expected, &next, expires_at, vec![]).await {
            Ok(Some(version)) => {
                let rotated = next.has_left_its_seed() && !grant.has_left_its_seed();
                if to == To::Refreshed && rotated && !self.runtime.records.is_durable() {
                    self.tell(EventCode::NeedsOperator, ROTATED);
                }
                if let (To::Stripped, Some(Failure::Provider(why))) = (to, &self.why) {
                    self.tell(EventCode::RefreshRefused, &cause(why));
                }
                let (grant, version) = (Arc::new(next), Some(version));
                self.found = Some(lookup::Held { grant, version, expires_at });
                Event::Swapped(Some(version))
            }
            Ok(None) => Event::Swapped(None),
            // Without the lease others may try at once. Where that fails, they wait until it runs out.
            Err(_) if to == To::Released => Event::StoreFailed,
            Err(error) => {
                self.never_written = error.kind() == StoreErrorKind::Refused;
                if to == To::Refreshed && (self.never_written || self.pause == FIRST_RETRY) {
                    let detail = format!("the new tokens are not written: {}", cause(&error));
                    self.tell(EventCode::RefreshNotWritten, &detail);
                }
                self.fails(error)
            }
        }
    }

    fn asked(&mut self) -> impl Future<Output = Result<TokenResponse, ProviderError>> + use<'a> {
        let (runtime, place, want) = (self.runtime, self.place, self.want);
        let grant = self.found.as_ref().map(|found| found.grant.clone());
        self.spent = grant.clone();
        async move {
            match &grant {
                Some(grant) => ask(runtime, place, grant, want).await,
                None => Err(ProviderError::Malformed("there is no grant")),
            }
        }
    }

    fn answered(&mut self, answer: Result<TokenResponse, ProviderError>) -> Told {
        let error = match answer {
            Ok(response) => {
                (self.response, self.came_at) = (Some(Arc::new(response)), self.runtime.now());
                return Event::Answered(Answer::Tokens);
            }
            Err(error) => error,
        };
        let answer = match &error {
            // RFC 6749 section 5.2: invalid, expired or revoked. Every other code is about us, not the grant, and so is
            // this one where nothing was shown that could be over.
            ProviderError::Refused(code) if code == "invalid_grant" && self.shows_token() => {
                Answer::InvalidGrant
            }
            ProviderError::Unavailable(_) | ProviderError::Malformed(_) => Answer::Lost,
            _ => Answer::Failed,
        };
        self.why = Some(Failure::Provider(error));
        Event::Answered(answer)
    }

    fn shows_token(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.grant.refresh_token.is_some())
    }

    fn verified(&self) -> impl Future<Output = Result<Option<IdToken>, ProviderError>> + use<'a> {
        let provider = self.provider();
        let grant = self.spent.clone();
        let response = self.response.clone();
        async move {
            match (&grant, &response) {
                (Some(grant), Some(response)) => verify(provider, grant, response).await,
                _ => Ok(None),
            }
        }
    }

    fn judged(&mut self, verified: Result<Option<IdToken>, ProviderError>) -> Told {
        Event::Verified(verified.map(|id_token| self.id_token = id_token).map_err(|error| {
            let end = match &error {
                ProviderError::IdToken(IdTokenError::AnotherOwner(_)) => End::AnotherOwner,
                _ => End::Unverified,
            };
            (self.refused, self.why) = (true, Some(Failure::Provider(error)));
            end
        }))
    }

    /// However slow the provider is, nobody else spends what is being spent.
    async fn while_renewing<T>(
        &mut self,
        refresher: &mut Refresher<At, Option<Secret>>,
        work: impl Future<Output = T>,
    ) -> T {
        // What is dropped in the middle of a renewal is found out at the next swap.
        tokio::select! {
            biased;
            done = work => done,
            never = self.renew(refresher) => match never {},
        }
    }

    async fn renew(&mut self, refresher: &mut Refresher<At, Option<Secret>>) -> Infallible {
        let mut pause = RENEW;
        loop {
            tokio::time::sleep(pause).await;
            pause = RENEW;
            let mut action = refresher.renew();
            while let Some(next) = action {
                let event = match next {
                    Action::Swap { expected, to } => self.swap(expected, to).await,
                    _ => self.read().await,
                };
                if matches!(event, Event::StoreFailed) {
                    pause = FIRST_RETRY;
                }
                action = refresher.renewed(&event);
            }
        }
    }

    async fn pause(&mut self) -> Told {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_RETRY);
        Event::Paused
    }

    async fn land(self, landing: Landing) -> Result<Arc<Grant>, NoToken> {
        if landing == Landing::Written {
            adopt_refreshed(self.runtime, self.place, self.id_token.as_ref(), self.response.as_deref());
        }
        match (landing, &self.why) {
            (Landing::Written, _) => self.tell(EventCode::RefreshSucceeded, "a new access token"),
            (Landing::Found, _) => self.tell(EventCode::RefreshAdopted, "somebody else refreshed it"),
            (Landing::Ended(End::AnotherOwner), Some(Failure::Provider(why))) => {
                self.tell(EventCode::RefreshAnotherOwner, &cause(why));
            }
            (Landing::Ended(_), Some(Failure::Provider(why))) => {
                self.tell(EventCode::RefreshRefused, &cause(why));
            }
            (Landing::Unavailable, Some(Failure::Provider(why))) => {
                self.tell(EventCode::RefreshFailed, &cause(why));
            }
            _ => {}
        }
        // Only now: a provider that is slow to revoke must not keep the grant usable.
        if let Some(response) = self.response.as_ref().filter(|_| self.refused || landing == Landing::Gone) {
            let taken_back = !self.refused && self.is_taken_back();
            let why = if taken_back { Unkept::TakenBack } else { Unkept::Refused };
            discard(self.runtime, self.provider(), response, self.place.user(), why).await;
        }
        match (landing, self.found, self.why) {
            (Landing::Written | Landing::Found, Some(found), _) => Ok(found.grant),
            (Landing::Unavailable, _, Some(Failure::Provider(why))) => {
                Err(NoToken::Unavailable(Box::new(why)))
            }
            (Landing::Unavailable, _, Some(Failure::Store(why))) => Err(NoToken::Unavailable(why)),
            (Landing::Unavailable, ..) => Err(NoToken::Unavailable("the refresh was given up".into())),
            _ => Err(NoToken::Consent),
        }
    }

    /// A grant that is kept until it is taken back was taken back. One that ended with its session is revoked as a
    /// logout does.
    fn is_taken_back(&self) -> bool {
        let connection = self.runtime.connection_of(self.place);
        self.provider().relying_party.revoke_at_logout
            || connection.is_some_and(|connection| connection.grant_lifetime == GrantLifetime::Persistent)
    }

    /// Where the grant came from. Its refresh token goes nowhere else.
    fn provider(&self) -> &'a Arc<Provider> {
        self.runtime.provider_of(self.place)
    }

    fn fails(&mut self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Told {
        self.why = Some(Failure::Store(why.into()));
        Event::StoreFailed
    }

    fn tell(&self, code: EventCode, detail: &str) {
        self.runtime.events().emit(code, self.place.user(), detail);
    }
}
