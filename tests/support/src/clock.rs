//! Time, moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_oidc::{Clock, Timestamp};

/// The shape in which the provider and the cookie jar ask for the time: Unix seconds.
pub type Seconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A clock that stands still until a test moves it. Clones are the same clock.
///
/// Time passes for all clocks of a world; each process may have [a clock of its own](TestClock::of_a_process) that is
/// wrong.
#[derive(Clone, Debug)]
pub struct TestClock {
    /// What time it is, in Unix milliseconds.
    time: Arc<AtomicU64>,
    /// By how many milliseconds this clock is ahead.
    error: Arc<AtomicI64>,
    /// Where this clock stands still, the moment at which it does; 0 while it goes.
    stands_at: Arc<AtomicU64>,
}

impl TestClock {
    /// 2026-01-01T00:00:00Z, where every clock starts, in Unix seconds.
    pub const START: u64 = 1_767_225_600;

    pub fn new() -> Self {
        let time = Arc::new(AtomicU64::new(Self::START * 1000));
        Self { time, error: Arc::default(), stands_at: Arc::default() }
    }

    /// The clock of another process of this world, right until it is made wrong.
    pub fn of_a_process(&self) -> Self {
        Self { time: Arc::clone(&self.time), error: Arc::default(), stands_at: Arc::default() }
    }

    /// Unix seconds, rounded down.
    pub fn now(&self) -> u64 {
        self.millis() / 1000
    }

    /// Unix milliseconds, by the wall clock.
    pub fn millis(&self) -> u64 {
        self.passed().saturating_add_signed(self.error.load(Ordering::SeqCst))
    }

    /// By the monotonic clock, which nobody sets.
    fn passed(&self) -> u64 {
        match self.stands_at.load(Ordering::SeqCst) {
            0 => self.time.load(Ordering::SeqCst),
            stands_at => stands_at,
        }
    }

    /// Time passes, for every clock of the world.
    pub fn advance(&self, by: Duration) {
        self.time.fetch_add(millis(by).unsigned_abs(), Ordering::SeqCst);
    }

    /// Sets this wall clock back, as a machine's clock is when it is corrected.
    pub fn rewind(&self, by: Duration) {
        self.error.fetch_sub(millis(by), Ordering::SeqCst);
    }

    /// Sets this wall clock forward: no time passes.
    pub fn set_forward(&self, by: Duration) {
        self.error.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// This clock, both of its readings, stands still from now on.
    pub fn stand_still(&self) {
        self.stands_at.store(self.time.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// This clock goes, and is right.
    pub fn correct(&self) {
        self.stands_at.store(0, Ordering::SeqCst);
        self.error.store(0, Ordering::SeqCst);
    }

    pub fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.millis())
    }

    pub fn seconds_fn(&self) -> Seconds {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    /// As the layer and stores read it.
    pub fn readings(&self) -> Clock {
        let (wall, monotonic) = (self.clone(), self.clone());
        Clock::from_readings(
            move || Timestamp::from_millis(wall.millis()),
            move || Duration::from_millis(monotonic.passed()),
        )
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("less than ages")
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}
