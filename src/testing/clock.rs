//! A clock that does not move by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp, millis};

/// A clock that a test moves. Pass [`ManualClock::clock`] to [`Config::clock`](crate::Config::clock). Clones are the
/// same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock with this time.
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(moment.as_millis())))
    }

    /// A clock with the present time.
    pub fn now() -> Self {
        Self::at(Clock::system().now())
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(millis(duration), Ordering::SeqCst);
    }

    /// The value for [`Config::clock`](crate::Config::clock).
    pub fn clock(&self) -> Clock {
        let moment = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_millis(moment.load(Ordering::SeqCst)))
    }
}
