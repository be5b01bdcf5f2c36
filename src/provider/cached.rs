//! Something that is fetched when it is first needed, kept, and kept on while its source is away.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::{Clock, Timestamp, backoff};

/// A value with its age. One task fetches it; other callers wait for that task or get the old value.
pub(crate) struct Cached<T> {
    clock: Clock,
    state: Mutex<CacheState<T>>,
    fetching: tokio::sync::Mutex<()>,
}

struct CacheState<T> {
    value: Option<Arc<T>>,
    /// When the source was last asked, whatever it answered, and how often before.
    asked_at: Timestamp,
    asked: u64,
    failures: u32,
}

/// How something that is needed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Readiness {
    /// It is here.
    Ready,
    /// What was read earlier serves on; reading it again failed.
    Stale,
    /// It is not here.
    Unavailable,
    /// It answers and refuses, until an operator changes something: a store whose records are sealed with a session secret that
    /// is not configured, for example. The event says which.
    Refused,
}

/// The source failed a moment ago and is not asked again yet.
#[derive(Debug)]
pub(crate) struct BackingOff;

impl<T> Cached<T> {
    pub(crate) fn new(clock: Clock) -> Self {
        let state = CacheState { value: None, asked_at: Timestamp::default(), asked: 0, failures: 0 };
        Self { clock, state: Mutex::new(state), fetching: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn value(&self) -> Option<Arc<T>> {
        self.state.lock().value.clone()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        match (&state.value, state.failures) {
            (Some(_), 0) => Readiness::Ready,
            (Some(_), _) => Readiness::Stale,
            (None, _) => Readiness::Unavailable,
        }
    }

    /// Whether there is a value and it is time to ask the source again all the same.
    pub(crate) fn is_older_than(&self, age: Duration) -> bool {
        let state = self.state.lock();
        let age = if state.failures > 0 { backoff(state.failures) } else { age };
        state.value.is_some() && !asked_within(age, state.asked_at, self.clock.now())
    }

    /// The value, fetched when there is none.
    pub(crate) async fn get_or_fetch<E: From<BackingOff>>(
        &self, fetch: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(value) = self.value() {
            return Ok(value);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(value) = self.value() {
            return Ok(value);
        }
        let is_backing_off = |state: &CacheState<T>| {
            state.failures > 0 && asked_within(backoff(state.failures), state.asked_at, self.clock.now())
        };
        if is_backing_off(&self.state.lock()) {
            return Err(BackingOff.into());
        }
        self.fetch(fetch).await
    }

    /// How often the source was asked, for [`Cached::refetch`].
    pub(crate) fn asked(&self) -> u64 {
        self.state.lock().asked
    }

    /// Asks the source again, unless it was asked since `seen` was read: then the value as it is. Where it was asked within
    /// `at_least` before, it is asked when that time is over.
    ///
    /// Whoever waits while another asks gets what that one brought.
    pub(crate) async fn refetch<E: From<BackingOff>>(
        &self, at_least: Duration, seen: u64, fetch: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let _fetching = self.fetching.lock().await;
        let (value, failures, asked_at, asked) = {
            let state = self.state.lock();
            (state.value.clone(), state.failures, state.asked_at, state.asked)
        };
        let now = self.clock.now();
        let is_early = asked_within(at_least, asked_at, now);
        if (failures == 0 && asked > seen) || (is_early && failures > 0) {
            // After a failure the old value is no answer: whoever asks again has found it wanting.
            return value.filter(|_| failures == 0).ok_or_else(|| BackingOff.into());
        }
        if is_early {
            tokio::time::sleep(at_least.saturating_sub(now.duration_since(asked_at))).await;
        }
        self.fetch(fetch).await
    }

    async fn fetch<E>(&self, fetch: impl AsyncFnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        // Before the call: a failure, and a caller who goes away, count as having asked.
        self.state.lock().asked += 1;
        self.state.lock().asked_at = self.clock.now();
        let fetched = fetch().await.map(Arc::new);
        let mut state = self.state.lock();
        match &fetched {
            Ok(value) => {
                state.value = Some(Arc::clone(value));
                state.failures = 0;
            }
            Err(_) => {
                // From here on: a call that ran into its deadline took longer than any pause.
                state.asked_at = self.clock.now();
                state.failures += 1;
            }
        }
        fetched
    }
}

/// A source that was asked in the future was asked before the clock was put back, nobody knows how long ago.
fn asked_within(age: Duration, asked_at: Timestamp, now: Timestamp) -> bool {
    asked_at <= now && now.duration_since(asked_at) < age
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, PartialEq)]
    struct Failed(bool);

    impl From<BackingOff> for Failed {
        fn from(_: BackingOff) -> Self {
            Self(true)
        }
    }

    fn clocked() -> (Arc<AtomicU64>, Cached<u32>) {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let read = Arc::clone(&now);
        let clock = Clock::from_fn(move || Timestamp::from_millis(read.load(Ordering::SeqCst)));
        (now, Cached::new(clock))
    }

    /// A failure is not kept as an answer, and does not become a storm.
    #[tokio::test]
    async fn failures_pause_and_pass() {
        let (now, fetched) = clocked();
        assert_eq!(fetched.get_or_fetch(async || Err(Failed(false))).await, Err(Failed(false)));
        assert_eq!(fetched.get_or_fetch(async || Ok(1)).await, Err(Failed(true)), "it pauses");
        now.fetch_add(100, Ordering::SeqCst);
        assert_eq!(fetched.get_or_fetch(async || Ok::<_, Failed>(2)).await, Ok(Arc::new(2)));
        assert_eq!(fetched.get_or_fetch(async || Ok::<_, Failed>(3)).await, Ok(Arc::new(2)), "it is kept");
        assert!(backoff(1) == Duration::from_millis(100) && backoff(40) == Duration::from_secs(5));
    }

    /// A source that hangs until its deadline is left alone from then on: who waited does not ask again in turn.
    #[tokio::test]
    async fn a_slow_failure_pauses_from_its_end() {
        let (now, fetched) = clocked();
        let slow = async || {
            now.fetch_add(10_000, Ordering::SeqCst);
            Err(Failed(false))
        };
        assert_eq!(fetched.get_or_fetch(slow).await, Err(Failed(false)));
        assert_eq!(fetched.get_or_fetch(async || Ok(1)).await, Err(Failed(true)));
        let again = fetched.refetch(Duration::from_secs(1), fetched.asked(), async || Ok(1)).await;
        assert_eq!(again, Err(Failed(true)));
    }

    /// A forced refetch is throttled, also after one that failed.
    #[tokio::test]
    async fn refetches_are_throttled_and_a_failed_one_keeps_the_old_value() {
        let (now, fetched) = clocked();
        let throttle = Duration::from_secs(2);
        assert!(fetched.get_or_fetch(async || Ok::<_, Failed>(1)).await.is_ok());
        assert_eq!(fetched.refetch(throttle, 0, async || Ok::<_, Failed>(2)).await, Ok(Arc::new(1)));
        now.fetch_add(2000, Ordering::SeqCst);
        let failed = fetched.refetch(throttle, fetched.asked(), async || Err(Failed(false))).await;
        assert_eq!(failed, Err(Failed(false)));
        let again = fetched.refetch(throttle, 2, async || Ok::<_, Failed>(3)).await;
        assert_eq!(again, Err(Failed(true)), "who asks again found the old value wanting");
        assert_eq!(fetched.value(), Some(Arc::new(1)));
    }

    /// Whoever needs what is newer than the last answer waits for the next turn, and for no longer.
    #[tokio::test(start_paused = true)]
    async fn a_refetch_waits_for_its_turn() {
        let (now, fetched) = clocked();
        let throttle = Duration::from_secs(2);
        assert!(fetched.get_or_fetch(async || Ok::<_, Failed>(1)).await.is_ok());
        now.fetch_add(500, Ordering::SeqCst);
        let (seen, began) = (fetched.asked(), tokio::time::Instant::now());
        let first = fetched.refetch(throttle, seen, async || Ok::<_, Failed>(2));
        let second = fetched.refetch(throttle, seen, async || Ok::<_, Failed>(3));
        assert_eq!(tokio::join!(first, second), (Ok(Arc::new(2)), Ok(Arc::new(2))));
        assert_eq!(began.elapsed(), Duration::from_millis(1_500));
        // However long the first takes.
        let seen = fetched.asked();
        now.fetch_add(2_000, Ordering::SeqCst);
        let slow = fetched.refetch(throttle, seen, async || {
            now.fetch_add(5_000, Ordering::SeqCst);
            Ok::<_, Failed>(4)
        });
        let second = fetched.refetch(throttle, seen, async || Ok::<_, Failed>(5));
        assert_eq!(tokio::join!(slow, second), (Ok(Arc::new(4)), Ok(Arc::new(4))));
    }
}
