//! Time, moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The shape in which the provider and the cookie jar ask for the time: Unix seconds.
pub type Seconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A clock that stands still until a test moves it. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    /// 2026-01-01T00:00:00Z, where every clock starts, in Unix seconds.
    pub const START: u64 = 1_767_225_600;

    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(Self::START * 1000)))
    }

    /// Unix seconds, rounded down.
    pub fn now(&self) -> u64 {
        self.millis() / 1000
    }

    /// Unix milliseconds.
    pub fn millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Moves the clock back, as a machine's clock does when it is corrected.
    pub fn rewind(&self, by: Duration) {
        self.0.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.millis())
    }

    pub fn seconds_fn(&self) -> Seconds {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    pub fn millis_fn(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.millis())
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}
