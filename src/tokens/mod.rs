//! One refresh for one grant and one expiry, however many requests wait.
//!
//! A request whose grant has no fresh token joins the refresh that is under way in this process, or starts one. A refresh
//! runs in a task of its own, so that a client that hangs up cancels nothing. Processes coordinate by the
//! [refresh protocol](crate::tokens::refresh_protocol).

pub(crate) mod account_status;
pub(crate) mod coordination;
pub(crate) mod disconnect;
pub(crate) mod hand_over;
pub(crate) mod locate;
pub(crate) mod lookup;
pub mod refresh_protocol;
pub(crate) mod refresh_request;
pub(crate) mod refresh_task;
pub(crate) mod single_use;
pub(crate) mod user_claims;

pub(crate) use self::account_status::AccountStatus;
pub(crate) use self::disconnect::{DisconnectOutcome, Unkept, disconnect};
pub(crate) use self::hand_over::VisitorGrants;
pub(crate) use self::locate::{GrantRef, Principal, SessionRows};
pub(crate) use self::lookup::{TokenRequest, TokenUnavailable};
pub(crate) use self::single_use::{PendingSingleUses, SingleUseRecord};
pub(crate) use self::user_claims::NewIdToken;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::lookup::{TokenAction, is_rejected, is_rejected_again, next};
use self::refresh_task::refresh;
use crate::error::RetryLater;
use crate::events::{EventCode, timed};
use crate::protocol::RefusalRemedy;
use crate::records::{Owner, TokenSet};
use crate::state::in_flight::{Join, RefreshOutcome, RefreshReceiver};

/// How many refreshes a request waits for: one for each resource of the grant.
const MAX_REFRESHES: usize = 64;
/// How long a request waits for a refresh. The refresh goes on after that.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long a request waits whose token is still valid: for its own refresh, and for another resource's before that.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// The access token that is wanted, fresh.
pub(crate) async fn access_token(place: &GrantRef, request: &TokenRequest) -> Result<TokenSet, TokenUnavailable> {
    let runtime = &place.runtime;
    let mut grant = place.stored_or_begun().await?.ok_or(TokenUnavailable::Consent)?;
    let mut waited = 0;
    let found = grant.token_set(request.indicator.as_deref()).map(|set| set.access_token.clone());
    // Refreshes for other resources of the same grant may end first, in the worst case those of all the others.
    for _ in 0..MAX_REFRESHES {
        let now = runtime.now();
        let usable = grant.token_set(request.indicator.as_deref()).filter(|set| !is_rejected(set, request));
        match (next(&grant, request, now, place.spread()), usable) {
            (TokenAction::Serve, Some(set)) => return Ok(set.clone()),
            (TokenAction::ServeAndRenew, Some(set)) => {
                let receiver = join(place, request);
                // The first may have been another resource's, which leaves ours as it is.
                if waited < 2
                    && found.as_ref() == Some(&set.access_token)
                    && place.is_kept_by_the_browser_alone()
                    && let Ok(RefreshOutcome::Grant(outcome)) = timeout(SHORT_PATIENCE, wait(receiver)).await
                {
                    place.note(&grant, &outcome);
                    (grant, waited) = (outcome, waited + 1);
                    continue;
                }
                return Ok(set.clone());
            }
            (TokenAction::Consent, _) => {
                if is_rejected_again(&grant, request, now) {
                    let detail = "an API refuses the token that came a moment ago for one that it had refused";
                    runtime.events().emit(EventCode::RefreshFailed, place.owner.user(), detail);
                }
                return Err(TokenUnavailable::Consent);
            }
            (TokenAction::Wait(left), _) => {
                let later = RetryLater::new("the provider refused a moment ago", left);
                return Err(TokenUnavailable::Unavailable(Box::new(later)));
            }
            // One call, one refresh: what was fetched for it is used, even if its provider says that it is over. One more
            // where it has aged on the way, because the store was away.
            (TokenAction::Refresh, Some(set))
                if found.as_ref() != Some(&set.access_token) && waited >= if set.has_aged(now) { 2 } else { 1 } =>
            {
                return Ok(set.clone());
            }
            (_, usable) => match wait(join(place, request)).await {
                RefreshOutcome::Grant(outcome) => {
                    place.note(&grant, &outcome);
                    (grant, waited) = (outcome, waited + 1);
                }
                RefreshOutcome::Consent => return Err(TokenUnavailable::Consent),
                // It was another resource's: nothing is known about ours.
                RefreshOutcome::Refused { only: Some(only), .. } if request.indicator.as_ref() != Some(&only) => {}
                outcome @ (RefreshOutcome::Refused { .. } | RefreshOutcome::Unavailable(_)) => {
                    // What is not quite over is better than nothing.
                    let alive = usable.filter(|set| set.expires_at.is_none_or(|end| runtime.now() < end));
                    return alive.cloned().ok_or_else(|| no_token(place, &outcome));
                }
            },
        }
    }
    Err(TokenUnavailable::Unavailable("the grant keeps changing".into()))
}

/// The error for a request whose refresh brought no token.
fn no_token(place: &GrantRef, outcome: &RefreshOutcome) -> TokenUnavailable {
    let is_own = !matches!(place.owner, Owner::Account { .. });
    match outcome {
        // What the application is refused is for its operator to mend, and then the grant works as it did. Where people
        // have their own, it is none of theirs.
        RefreshOutcome::Refused { reason, .. } if is_own => TokenUnavailable::Operator(Arc::clone(reason)),
        RefreshOutcome::Unavailable(later) => TokenUnavailable::Unavailable(Box::new(later.clone())),
        RefreshOutcome::Refused { .. } | RefreshOutcome::Grant(_) | RefreshOutcome::Consent => {
            TokenUnavailable::Consent
        }
    }
}

async fn wait(mut receiver: RefreshReceiver) -> RefreshOutcome {
    let outcome = async { receiver.wait_for(Option::is_some).await.ok()?.clone() };
    let reason = match timeout(PATIENCE, outcome).await {
        Ok(Some(outcome)) => return outcome,
        Ok(None) => "the refresh was given up",
        Err(_) => "the provider or the store takes too long",
    };
    RefreshOutcome::Unavailable(RetryLater::new(reason, Duration::ZERO))
}

/// Joins the refresh of this grant that is under way in this process, or starts one.
fn join(place: &GrantRef, request: &TokenRequest) -> RefreshReceiver {
    let (runtime, key) = (&place.runtime, place.row.key);
    let (sender, receiver) = match runtime.in_flight.join(key, request.indicator.as_deref(), runtime.now()) {
        Join::Follow(receiver) => return receiver,
        Join::Lead(sender, receiver) => (sender, receiver),
    };
    let (place, request) = (place.clone(), request.clone());
    runtime.tasks.spawn(async move {
        let (runtime, key) = (&place.runtime, place.row.key);
        let Some(turn) = runtime.in_flight.turn(key, &sender).await else { return };
        let outcome = timed(&runtime.clock, "refresh", refresh(&place, &request, turn)).await;
        if let RefreshOutcome::Refused { .. } | RefreshOutcome::Unavailable(_) = outcome {
            runtime.in_flight.pause(key, outcome.clone(), runtime.now());
        }
        // Off the list first: a request that sees the outcome may start the next refresh.
        runtime.in_flight.leave(key);
        let _ = sender.send(Some(outcome));
    });
    receiver
}
