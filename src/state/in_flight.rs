//! The refreshes under way in this process: at most one for each grant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::records::grant::Grant;
use crate::store::Key;

/// After a failure that passes, a grant's provider is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is on the way, and who shall not start yet.
#[derive(Default)]
pub(crate) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: HashMap<Key, Flight>,
    /// Grants whose provider failed a moment ago, until when and how; of some only what was asked for one resource.
    pauses: HashMap<(Key, Option<String>), (Timestamp, Landing)>,
}

/// Tells everybody who waits when the flight has landed.
pub(crate) type Flight = watch::Receiver<Option<Landing>>;

/// How a flight ended, for everybody who waited.
#[derive(Clone)]
pub(crate) enum Landing {
    /// There is a grant to look at.
    Grant(Arc<Grant>),
    Consent,
    /// The provider refused the application or what it asked for, and not the grant. Where it was about one resource
    /// indicator, that says nothing about others.
    Refused {
        only: Option<String>,
        reason: Arc<str>,
    },
    Unavailable(Arc<str>),
}

/// What somebody finds who wants a grant refreshed.
pub(crate) enum Boarding {
    UnderWay(Flight),
    /// Nobody else: the caller flies, and lands with the sender.
    TakeOff(watch::Sender<Option<Landing>>, Flight),
    /// The last one landed like this a moment ago, and so would the next.
    Paused(Landing),
}

impl Flights {
    pub(crate) fn board(&self, key: Key, indicator: Option<&str>, now: Timestamp) -> Boarding {
        let mut state = self.state();
        if let Some(flight) = state.under_way.get(&key) {
            return Boarding::UnderWay(flight.clone());
        }
        // One that is longer than any was set by a clock that has been put back.
        state.pauses.retain(|_, (until, _)| now < *until && until.since(now) <= PAUSE);
        let paused = |asked: Option<&str>| state.pauses.get(&(key, asked.map(str::to_owned)));
        if let Some((_, landing)) = paused(None).or_else(|| paused(indicator)) {
            return Boarding::Paused(landing.clone());
        }
        let (landing, flight) = watch::channel(None);
        state.under_way.insert(key, flight.clone());
        Boarding::TakeOff(landing, flight)
    }

    /// Whoever comes in the next moment lands like this without a flight.
    pub(crate) fn pause(&self, key: Key, landing: Landing, now: Timestamp) {
        let only = match &landing {
            Landing::Refused { only, .. } => only.clone(),
            Landing::Grant(_) | Landing::Consent | Landing::Unavailable(_) => None,
        };
        self.state().pauses.insert((key, only), (now.plus(PAUSE), landing));
    }

    /// Whoever comes now starts from what is written.
    pub(crate) fn leave(&self, key: Key) {
        self.state().under_way.remove(&key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
