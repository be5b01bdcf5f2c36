//! What other processes changed in the store, as far as it tells: what is remembered here is then asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use smart_default::SmartDefault;

use crate::clock::backoff;
use crate::events::{EventCode, Events};
use crate::store::{Change, Key, Notifier, Store, StoreErrorKind};

/// Rows share this many places. Who shares one with a row that changed is asked for once more than needed.
const PLACES: usize = 4096;
/// A store that refuses is seldom asked: its operator must change something first.
const REFUSED_PAUSE: Duration = Duration::from_secs(5 * 60);

/// When something was last heard of each row. Changes are counted, because clocks of processes differ.
#[derive(SmartDefault)]
pub(crate) struct Invalidations {
    heard: AtomicU64,
    #[default((0..PLACES).map(|_| AtomicU64::new(0)).collect())]
    places: Box<[AtomicU64]>,
    /// Wakes those who wait for a row.
    pub(crate) rows: Notifier,
    /// Wakes all of them: any row may have changed.
    pub(crate) any: Notify,
    is_told: AtomicBool,
}

impl Invalidations {
    /// Everything heard so far. To be asked before the store is: what is heard later is news.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// Whether something was heard of a row in this place after that.
    pub(crate) fn changed_since(&self, heard: u64, place: Slot) -> bool {
        self.places[usize::from(place.0)].load(Ordering::Acquire) > heard
    }

    pub(crate) fn hear(&self, change: Change) {
        let now = self.heard.fetch_add(1, Ordering::AcqRel) + 1;
        match change {
            Change::Row(key) => {
                self.places[usize::from(Slot::of(key).0)].fetch_max(now, Ordering::AcqRel);
                self.rows.tell(change);
            }
            Change::Any => {
                for place in &self.places {
                    place.fetch_max(now, Ordering::AcqRel);
                }
                self.any.notify_waiters();
            }
        }
    }

    /// Whether the store tells of what other processes change, at the moment.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }
}

/// Where it is noted that a row changed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Slot(u16);

impl Slot {
    /// Rows are named by hashes: any two bytes spread them.
    pub(crate) fn of(key: Key) -> Self {
        let [.., a, b] = key.0;
        Self(u16::from_le_bytes([a, b]) % PLACES as u16)
    }
}

/// Listens to the store, from the first need until it is dropped.
#[derive(Default)]
pub(crate) struct Listener {
    task: Mutex<Option<AbortOnDropHandle<()>>>,
    /// The store cannot notify.
    is_mute: Arc<AtomicBool>,
}

impl Listener {
    /// Begins, unless it has begun and goes on: the runtime may have ended on which it did. Must be called inside of tokio.
    pub(crate) fn begin(&self, store: &Arc<dyn Store>, invalidations: &Arc<Invalidations>, events: &Events) {
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(AbortOnDropHandle::is_finished) && !self.is_mute.load(Ordering::Relaxed) {
            let (events, is_mute) = (events.clone(), Arc::clone(&self.is_mute));
            let listening = listen(Arc::clone(store), Arc::clone(invalidations), events.clone());
            let listening = async move {
                events.observe(listening).await;
                is_mute.store(true, Ordering::Relaxed);
            };
            *task = Some(AbortOnDropHandle::new(tokio::spawn(listening)));
        }
    }
}

async fn listen(store: Arc<dyn Store>, invalidations: Arc<Invalidations>, events: Events) {
    let mut failures = 0_u32;
    loop {
        let has_begun = AtomicBool::new(false);
        let hear = |change| {
            has_begun.store(true, Ordering::Relaxed);
            invalidations.is_told.store(true, Ordering::Release);
            invalidations.hear(change);
        };
        let ended = store.subscribe(&hear).await;
        if invalidations.is_told.swap(false, Ordering::AcqRel) {
            // From now on those who wait look themselves. What was known a moment ago counts as long as it does where
            // nothing is heard: a store that stops ends no session at once.
            invalidations.any.notify_waiters();
        }
        // It cannot notify.
        let Err(error) = ended else { return };
        failures = if has_begun.into_inner() { 0 } else { failures + 1 };
        let pause = if error.kind() == StoreErrorKind::Refused { REFUSED_PAUSE } else { backoff(failures) };
        events.emit(EventCode::StoreFailed, None, error);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::{Instant, advance, timeout};

    use super::*;
    use crate::clock::Timestamp;
    use crate::store::{MemoryStore, Record, StoreError, StoreFuture, Stored, Tag, Version};

    /// Says how each attempt to listen ends, by its number, and notes when it began.
    struct Telling {
        rows: MemoryStore,
        ends: fn(usize) -> Result<(), StoreErrorKind>,
        began: Mutex<Vec<Instant>>,
    }

    impl Store for Telling {
        fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
            self.rows.load(key)
        }

        fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
            self.rows.swap(key, expected, record)
        }

        fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
            self.rows.delete(key, expected)
        }

        fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
            self.rows.find(tag)
        }

        fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
            self.rows.delete_expired(older_than)
        }

        fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
            let mut began = self.began.lock();
            began.push(Instant::now());
            let ended = (self.ends)(began.len());
            Box::pin(async move {
                ended.map_err(|kind| match kind {
                    StoreErrorKind::Refused => StoreError::refused("it may not listen"),
                    // It had begun to tell.
                    StoreErrorKind::OutcomeUnknown => {
                        heard(Change::Any);
                        StoreError::unavailable("it stopped telling", "closed")
                    }
                    StoreErrorKind::Unavailable => StoreError::unavailable("it is away", "closed"),
                })
            })
        }
    }

    /// When each attempt to listen began, in milliseconds after the first, for as long as these seconds.
    async fn attempts(ends: fn(usize) -> Result<(), StoreErrorKind>, seconds: u64) -> Vec<u128> {
        let store = Arc::new(Telling { rows: MemoryStore::new(), ends, began: Mutex::default() });
        let (listener, invalidations) = (Listener::default(), Arc::new(Invalidations::default()));
        let as_store: Arc<dyn Store> = store.clone();
        for _ in 0..seconds * 100 {
            listener.begin(&as_store, &invalidations, &Events::default());
            tokio::task::yield_now().await;
            advance(Duration::from_millis(10)).await;
        }
        let began = store.began.lock();
        began.iter().map(|one| one.duration_since(began[0]).as_millis()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_cannot_notify_is_asked_once() {
        assert_eq!(attempts(|_| Ok(()), 10).await, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_is_asked_every_five_minutes() {
        let refused = attempts(|_| Err(StoreErrorKind::Refused), 650).await;
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[1] >= 300_000 && refused[2] >= 600_000, "{refused:?}");
    }

    /// Less and less often while it is away, and soon again after it has told of something.
    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_asked_less_and_less_often() {
        let fifth_tells = |at| Err(if at == 5 { StoreErrorKind::OutcomeUnknown } else { StoreErrorKind::Unavailable });
        let began = attempts(fifth_tells, 60).await;
        let pauses: Vec<_> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[..4].windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
        assert!(pauses[4] < pauses[1], "{pauses:?}");
    }

    /// Where any row may have changed, every row counts as changed, and all who wait are woken.
    #[tokio::test]
    async fn any_change_is_one_of_every_row() {
        let (invalidations, keys) = (Invalidations::default(), [Key([0; 32]), Key([7; 32]), Key([255; 32])]);
        let changed = |heard| keys.map(|key| invalidations.changed_since(heard, Slot::of(key)));
        let before = invalidations.heard();
        let mut woken = pin!(invalidations.any.notified());
        assert!(timeout(Duration::ZERO, woken.as_mut()).await.is_err());
        invalidations.hear(Change::Row(keys[1]));
        assert_eq!(changed(before), [false, true, false]);
        assert!(timeout(Duration::ZERO, woken.as_mut()).await.is_err(), "one row is not every row");
        invalidations.hear(Change::Any);
        assert_eq!(changed(before), [true; 3]);
        assert_eq!(changed(invalidations.heard()), [false; 3]);
        assert!(timeout(Duration::ZERO, woken).await.is_ok());
    }

    /// An application may be started on another runtime, and its layer live on.
    #[test]
    fn who_listened_on_a_runtime_that_ended_listens_again() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (listener, invalidations) = (Listener::default(), Arc::new(Invalidations::default()));
        for round in [1, 2] {
            let key = Key([round; 32]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let before = runtime.block_on(async {
                listener.begin(&store, &invalidations, &Events::default());
                tokio::task::yield_now().await;
                let before = invalidations.heard();
                let record = Record { bytes: b"x"[..].into(), expires_at: Timestamp::from_secs(9), tags: vec![] };
                store.swap(key, None, record).await.unwrap();
                tokio::task::yield_now().await;
                before
            });
            assert!(invalidations.changed_since(before, Slot::of(key)), "round {round}");
        }
    }
}
