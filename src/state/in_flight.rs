//! The refreshes under way in this process: at most one for each grant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::error::RetryLater;
use crate::records::grant::Grant;
use crate::store::Key;

/// After a failure that passes, a grant's provider is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// The refreshes under way, and the grants whose next refresh must wait.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<InFlightState>);

#[derive(Default)]
struct InFlightState {
    under_way: HashMap<Key, RefreshReceiver>,
    /// Grants whose provider failed a moment ago, until when and how; of some only what was asked for one resource.
    pauses: HashMap<(Key, Option<String>), (Timestamp, RefreshOutcome)>,
}

/// Receives the outcome of a refresh that is under way.
pub(crate) type RefreshReceiver = watch::Receiver<Option<RefreshOutcome>>;

/// The outcome of a refresh, for each request that waited.
#[derive(Clone)]
pub(crate) enum RefreshOutcome {
    /// There is a grant to look at.
    Grant(Arc<Grant>),
    Consent,
    /// The provider refused the application or what it asked for, and not the grant. Where it was about one resource
    /// indicator, that says nothing about others.
    Refused {
        only: Option<String>,
        reason: Arc<str>,
    },
    Unavailable(RetryLater),
}

/// What a request that needs a refresh does.
pub(crate) enum Join {
    /// Another request has started it: wait for the outcome.
    Follow(RefreshReceiver),
    /// None is under way: the caller refreshes, and sends the outcome.
    Lead(watch::Sender<Option<RefreshOutcome>>, RefreshReceiver),
    /// The last refresh failed less than `PAUSE` ago: its outcome serves.
    BackOff(RefreshOutcome),
}

impl InFlight {
    pub(crate) fn join(&self, key: Key, indicator: Option<&str>, now: Timestamp) -> Join {
        let mut state = self.0.lock();
        if let Some(receiver) = state.under_way.get(&key) {
            return Join::Follow(receiver.clone());
        }
        // One that is longer than any was set by a clock that has been put back.
        state.pauses.retain(|_, (until, _)| now < *until && until.duration_since(now) <= PAUSE);
        let paused = |asked: Option<&str>| state.pauses.get(&(key, asked.map(str::to_owned)));
        if let Some((_, outcome)) = paused(None).or_else(|| paused(indicator)) {
            return Join::BackOff(outcome.clone());
        }
        let (sender, receiver) = watch::channel(None);
        state.under_way.insert(key, receiver.clone());
        Join::Lead(sender, receiver)
    }

    /// Requests within the next `PAUSE` get this outcome without a refresh.
    pub(crate) fn pause(&self, key: Key, outcome: RefreshOutcome, now: Timestamp) {
        let only = match &outcome {
            RefreshOutcome::Refused { only, .. } => only.clone(),
            RefreshOutcome::Grant(_) | RefreshOutcome::Consent | RefreshOutcome::Unavailable(_) => None,
        };
        self.0.lock().pauses.insert((key, only), (now.saturating_add(PAUSE), outcome));
    }

    /// Takes the refresh off the list: later requests start from the store.
    pub(crate) fn leave(&self, key: Key) {
        self.0.lock().under_way.remove(&key);
    }
}
