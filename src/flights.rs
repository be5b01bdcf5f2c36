//! The refreshes under way in this process: at most one for each grant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::ambient::Timestamp;
use crate::grant::Grant;
use crate::store::Key;

/// After a failure that passes, a grant's provider is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is on the way, and who shall not start yet.
#[derive(Default)]
pub(crate) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: HashMap<Key, Flight>,
    /// Grants whose provider failed a moment ago, until when; of some only what was asked for one resource.
    pauses: HashMap<(Key, Option<String>), Timestamp>,
}

/// Tells everybody who waits when the flight has landed.
pub(crate) type Flight = watch::Receiver<Option<Landing>>;

/// How a flight ended, for everybody who waited.
#[derive(Clone)]
pub(crate) enum Landing {
    /// There is a grant to look at.
    Grant(Arc<Grant>),
    Consent,
    /// The provider refused what was asked for this resource indicator, which says nothing about others.
    Refused(String, Arc<str>),
    Unavailable(Arc<str>),
}

/// What somebody finds who wants a grant refreshed.
pub(crate) enum Boarding {
    UnderWay(Flight),
    /// Nobody else: the caller flies, and lands with the sender.
    TakeOff(watch::Sender<Option<Landing>>, Flight),
    Paused,
}

impl Flights {
    pub(crate) fn board(&self, key: Key, indicator: Option<&str>, now: Timestamp) -> Boarding {
        let mut state = self.state();
        if let Some(flight) = state.under_way.get(&key) {
            return Boarding::UnderWay(flight.clone());
        }
        // One that is longer than any was set by a clock that has been put back.
        state.pauses.retain(|_, until| now < *until && until.since(now) <= PAUSE);
        let indicator = indicator.map(str::to_owned);
        if [None, indicator].into_iter().any(|asked| state.pauses.contains_key(&(key, asked))) {
            return Boarding::Paused;
        }
        let (landing, flight) = watch::channel(None);
        state.under_way.insert(key, flight.clone());
        Boarding::TakeOff(landing, flight)
    }

    /// With an indicator, for that resource alone.
    pub(crate) fn pause(&self, key: Key, indicator: Option<String>, now: Timestamp) {
        self.state().pauses.insert((key, indicator), now.plus(PAUSE));
    }

    /// Whoever comes now starts from what is written.
    pub(crate) fn leave(&self, key: Key) {
        self.state().under_way.remove(&key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
