//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// A clock to give to [`Config::clock`](crate::Config::clock). Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at this moment.
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(moment.as_millis())))
    }

    /// A clock that stands at the present.
    pub fn now() -> Self {
        Self::at(Clock::system().now())
    }

    /// Moves it on.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// What the configuration takes.
    pub fn clock(&self) -> Clock {
        let moment = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_millis(moment.load(Ordering::SeqCst)))
    }
}
