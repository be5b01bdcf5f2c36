//! Time and chance: the one place where the clock is read and randomness is drawn.
//!
//! Everything below takes [`Timestamp`]s and random bytes as parameters, so that tests move a clock
//! instead of sleeping.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::secret::opaque;

/// A moment, in milliseconds since the Unix epoch: serialised as that number, converted from and into [`SystemTime`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `seconds` after the Unix epoch, as JWT claims count (RFC 7519 section 2, NumericDate).
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The moment `milliseconds` after the Unix epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment moved into the future; the end of time at the most.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Both readings of a clock at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockReading {
    pub(crate) wall: Timestamp,
    /// In milliseconds.
    pub(crate) monotonic: u64,
}

impl ClockReading {
    /// Whether what was learned at `learned` may be believed for so long. It may not when either clock says that more time
    /// has passed: a wall clock that is set back makes nothing younger, and one that jumps ahead is asked about.
    pub(crate) fn believes(self, learned: Self, limit: Duration) -> bool {
        let (wall, limit) = (self.wall.0.abs_diff(learned.wall.0), millis(limit));
        limit > 0 && wall <= limit && self.monotonic.saturating_sub(learned.monotonic) <= limit
    }
}

/// The last second of the year 9999.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

/// Rounded down to milliseconds. A moment before the Unix epoch is the epoch.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

/// Where the platform knows no moment so late, the end of the year 9999.
impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let after_epoch = UNIX_EPOCH.checked_add(Duration::from_millis(time.0));
        after_epoch.unwrap_or_else(|| UNIX_EPOCH + YEAR_9999)
    }
}

/// How long to wait before the next attempt after so many failures: 100 ms, doubling, at most 5 s.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(50 << failures.clamp(1, 7)).min(Duration::from_secs(5))
}

pub(crate) const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis() as u64)
}

/// Where the time comes from: a wall clock, which may be wrong and may be set, and a monotonic clock, which is not set.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tower_oidc::{Clock, Timestamp};
///
/// let seconds = Arc::new(AtomicU64::new(1_767_225_600));
/// let shown = Arc::clone(&seconds);
/// let clock = Clock::from_fn(move || Timestamp::from_secs(shown.load(Ordering::SeqCst)));
/// // `Config::clock` takes it; then a test moves it.
/// seconds.fetch_add(3600, Ordering::SeqCst);
/// assert_eq!(clock.now(), Timestamp::from_secs(1_767_229_200));
/// ```
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    monotonic: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
    pub fn system() -> Self {
        let start = Instant::now();
        Self::from_readings(|| SystemTime::now().into(), move || start.elapsed())
    }

    /// A clock of one's own, for tests. Both readings follow it.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let wall: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(now);
        let monotonic = Arc::clone(&wall);
        Self { wall, monotonic: Arc::new(move || Duration::from_millis(monotonic().0)) }
    }

    /// A clock of one's own whose readings differ, for tests: `wall` says what time it is, `monotonic` how much time has
    /// passed since any moment before.
    pub fn from_readings(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static, monotonic: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall), monotonic: Arc::new(monotonic) }
    }

    /// The present moment, by the wall clock.
    pub fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// Both readings. The wall clock was read a moment ago.
    pub(crate) fn reading_at(&self, wall: Timestamp) -> ClockReading {
        ClockReading { wall, monotonic: millis(self.monotonic()) }
    }

    pub(crate) fn reading(&self) -> ClockReading {
        self.reading_at(self.now())
    }

    /// How much time has passed since a moment that stays the same, by the monotonic clock.
    pub fn monotonic(&self) -> Duration {
        (self.monotonic)()
    }
}

opaque!(Clock);

/// Where randomness comes from. It must be fit for keys.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn(&mut [u8]) + Send + Sync>);

impl Random {
    /// The operating system's generator.
    ///
    /// # Panics
    ///
    /// Drawing panics where the operating system has no randomness to give: nothing here is safe then.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where randomness is drawn")]
    #[expect(clippy::panic, reason = "going on without randomness would be worse")]
    pub fn system() -> Self {
        Self::from_fn(|bytes| {
            if let Err(error) = getrandom::fill(bytes) {
                panic!("the operating system gives no randomness: {error}");
            }
        })
    }

    /// A generator of one's own, for tests.
    pub fn from_fn(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }

    /// 256 random bits as 43 characters of base64url: a `state`, a `nonce`, a `code_verifier`.
    pub fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }
}

opaque!(Random);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_timestamp_is_a_system_time_and_back(milliseconds in 0..=253_402_300_799_999_u64) {
            let at = Timestamp::from_millis(milliseconds);
            let time = SystemTime::from(at);
            prop_assert_eq!(time.duration_since(UNIX_EPOCH).ok(), Some(Duration::from_millis(milliseconds)));
            prop_assert_eq!(Timestamp::from(time), at);
        }
    }

    #[test]
    fn either_clock_ends_a_belief() {
        let at = |wall, monotonic: u64| ClockReading { wall: Timestamp::from_secs(wall), monotonic: monotonic * 1000 };
        let limit = Duration::from_secs(2);
        for (now, believed) in [
            (at(1002, 12), true),
            (at(1000, 10), true),
            (at(998, 10), true),
            (at(1003, 10), false),
            (at(997, 10), false),
            (at(1000, 13), false),
        ] {
            assert_eq!(now.believes(at(1000, 10), limit), believed, "{now:?}");
        }
        assert!(!at(1000, 10).believes(at(1000, 10), Duration::ZERO));
    }

    #[test]
    fn what_the_other_cannot_say_is_the_nearest_that_it_can() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::from_millis(0));
        let within = UNIX_EPOCH + Duration::from_nanos(1_999_999);
        assert_eq!(Timestamp::from(within), Timestamp::from_millis(1));
        assert!(SystemTime::from(Timestamp::from_millis(u64::MAX)) >= UNIX_EPOCH + YEAR_9999);
    }
}
