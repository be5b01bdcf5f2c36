//! One refresh for one grant and one expiry, however many requests wait.
//!
//! A request looks at its grant, and at its process's flight for it: whoever wants what is not there boards the flight
//! that is under way, or takes off. A flight runs in a task of its own: a client that hangs up cancels nothing. Among
//! processes, flights keep to the protocol of [`refreshing`](crate::tokens::refresh_protocol).

pub(crate) mod account_grant;
pub(crate) mod account_status;
pub(crate) mod coordination;
pub(crate) mod disconnect;
pub(crate) mod hand_over;
pub(crate) mod locate;
pub(crate) mod lookup;
pub(crate) mod newer_id_token;
pub(crate) mod principal;
pub mod refresh_protocol;
pub(crate) mod refresh_request;
pub(crate) mod refresh_task;
pub(crate) mod save;
pub(crate) mod single_use;
pub(crate) mod unkept;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use self::locate::GrantPlace;
use self::lookup::{NoToken, Step, Want, is_rejected, next, stored_or_begun};
use self::refresh_task::refresh;
use crate::clock::Timestamp;
use crate::config::mode::Rendezvous;
use crate::provider::error::ProviderError;
use crate::records::grant::{Grant, TokenSet};
use crate::secret::Secret;
use crate::state::Runtime;
use crate::state::in_flight::{Boarding, Flight, Landing};
use crate::store::Key;

/// How many flights a request waits for: one for each resource of the grant.
const MOST_FLIGHTS: usize = 64;
/// How long a request waits for a flight. The flight goes on after that.
const PATIENCE: Duration = Duration::from_secs(25);
/// The same where its token serves still: for its own flight, and for another resource's before that.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// The access token that is wanted, fresh.
pub(crate) async fn access_token(
    runtime: &Arc<Runtime>,
    place: &GrantPlace,
    want: &Want,
) -> Result<TokenSet, NoToken> {
    let mut grant = stored_or_begun(runtime, place).await?.ok_or(NoToken::Consent)?;
    let mut waited = 0;
    let found =
        grant.token_set(want.indicator.as_deref()).map(|set| (set.access_token.clone(), set.issued_at));
    // Flights for other resources of the same grant may land first, and those of all the others at the worst.
    for _ in 0..MOST_FLIGHTS {
        let now = runtime.now();
        let spread = place.spread();
        let usable = grant.token_set(want.indicator.as_deref()).filter(|set| !is_rejected(set, want));
        match (next(&grant, want, now, spread), usable) {
            (Step::Serve, Some(set)) => return Ok(set.clone()),
            (Step::ServeAndRenew, Some(set)) => {
                let flight = board(runtime, place, want);
                // The first may have been another resource's, which leaves ours as it is.
                if waited < 2
                    && found.as_ref().is_some_and(|(token, _)| *token == set.access_token)
                    && is_kept_nowhere_else(runtime, place)
                    && let Ok(Landing::Grant(landed)) = timeout(SHORT_PATIENCE, wait(flight)).await
                {
                    place.note(&grant, &landed);
                    (grant, waited) = (landed, waited + 1);
                    continue;
                }
                return Ok(set.clone());
            }
            (Step::Consent, _) => return Err(NoToken::Consent),
            // One call, one refresh: what was fetched for it is used, even if its provider says that it is over. One more
            // where it has aged on the way, because the store was away.
            (Step::Refresh, Some(set))
                if found.as_ref().is_none_or(|(token, _)| *token != set.access_token)
                    && waited >= if set.has_aged(now) { 2 } else { 1 } =>
            {
                return Ok(set.clone());
            }
            // The provider gives again what the API has refused: to ask it once more changes nothing.
            (_, None) if gives_again(&grant, want, found.as_ref()) => return Err(NoToken::Consent),
            (_, usable) => match wait(board(runtime, place, want)).await {
                Landing::Grant(landed) => {
                    place.note(&grant, &landed);
                    (grant, waited) = (landed, waited + 1);
                }
                Landing::Consent => return Err(NoToken::Consent),
                // It was another resource's: nothing is known about ours.
                Landing::Refused { only: Some(only), .. } if want.indicator.as_ref() != Some(&only) => {}
                landing @ (Landing::Refused { .. } | Landing::Unavailable(_)) => {
                    // What is not quite over is better than nothing.
                    let alive = usable.filter(|set| set.expires_at.is_none_or(|end| runtime.now() < end));
                    return alive.cloned().ok_or_else(|| no_token(runtime, &landing));
                }
            },
        }
    }
    Err(NoToken::Unavailable("the grant keeps changing".into()))
}

/// What it is to whoever waited that a flight brought nothing.
fn no_token(runtime: &Runtime, landing: &Landing) -> NoToken {
    match landing {
        // What the application is refused is for its operator to mend, and then the grant works as it did. Where people
        // have their own, it is none of theirs.
        Landing::Refused { reason, .. } if runtime.mode.account().is_none() => {
            NoToken::Unavailable(reason.as_ref().into())
        }
        Landing::Unavailable(reason) => NoToken::Unavailable(reason.as_ref().into()),
        Landing::Refused { .. } | Landing::Grant(_) | Landing::Consent => NoToken::Consent,
    }
}

/// Whether a grant that is refreshed lasts only where an answer brings it to its browser: the next process knows nothing of
/// what this one remembers.
fn is_kept_nowhere_else(runtime: &Runtime, place: &GrantPlace) -> bool {
    place.carried.is_some() && runtime.mode.rendezvous() == Some(Rendezvous::Here)
}

/// Whether what was fetched since, by ourselves or by somebody else, is what the API has refused.
fn gives_again(grant: &Grant, want: &Want, found: Option<&(Secret, Timestamp)>) -> bool {
    let set = grant.token_set(want.indicator.as_deref());
    set.is_some_and(|set| is_rejected(set, want) && found.is_none_or(|(_, at)| set.issued_at != *at))
}

async fn wait(mut flight: Flight) -> Landing {
    let landed = async {
        match flight.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone(),
            Err(_) => None,
        }
    };
    match timeout(PATIENCE, landed).await {
        Ok(Some(landing)) => landing,
        Ok(None) => Landing::Unavailable("the refresh was given up".into()),
        Err(_) => Landing::Unavailable("the provider or the store takes too long".into()),
    }
}

/// The flight that is under way for this grant, or a new one.
fn board(runtime: &Arc<Runtime>, place: &GrantPlace, want: &Want) -> Flight {
    let key = place.row.key;
    let (landing, flight) = match runtime.flights.board(key, want.indicator.as_deref(), runtime.now()) {
        Boarding::UnderWay(flight) => return flight,
        Boarding::Paused(landing) => return watch::channel(Some(landing)).1,
        Boarding::TakeOff(landing, flight) => (landing, flight),
    };
    let seat = Seat { runtime: Arc::clone(runtime), key };
    let (place, want) = (place.clone(), want.clone());
    runtime.tasks.spawn(async move {
        let landed = match refresh(&seat.runtime, &place, &want).await {
            Ok(grant) => Landing::Grant(grant),
            // The grant is over, or gone: whoever comes next reads so.
            Err(NoToken::Consent) => Landing::Consent,
            Err(NoToken::Unavailable(why)) => {
                let landing = failed(&*why, want.indicator);
                seat.runtime.flights.pause(key, landing.clone(), seat.runtime.now());
                landing
            }
        };
        // Gone from the list before it lands.
        drop(seat);
        let _ = landing.send(Some(landed));
    });
    flight
}

/// How a flight lands that left the grant as it was.
fn failed(why: &(dyn std::error::Error + 'static), indicator: Option<String>) -> Landing {
    let reason = why.to_string().into();
    let Some(ProviderError::Refused(code)) = why.downcast_ref() else { return Landing::Unavailable(reason) };
    // RFC 8707 section 2 and RFC 6749 section 5.2: the resource or its scopes, and nothing else.
    let is_about_what_was_asked = code == "invalid_target" || code == "invalid_scope";
    Landing::Refused { only: indicator.filter(|_| is_about_what_was_asked), reason }
}

/// A flight's place in the list, given up also when its task panics.
struct Seat {
    runtime: Arc<Runtime>,
    key: Key,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.runtime.flights.leave(self.key);
    }
}
