//! The store behind a deadline, and how its last write ended.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::clock::Clock;
use crate::events::{EventCode, Events, guarded, metrics};
use crate::store::{Key, Record, Store, StoreError, StoreErrorKind, Stored, Tag, Version};

/// The longest that one call to the store may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// A store whose calls return in time.
pub(crate) struct TimedStore {
    pub(crate) store: Arc<dyn Store>,
    clock: Clock,
    events: Events,
    /// How the last write ended, whichever caller asked for it.
    write_failed: AtomicBool,
}

impl TimedStore {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Clock, events: Events) -> Self {
        Self { store, clock, events, write_failed: AtomicBool::new(false) }
    }

    /// Whether the last write did not succeed, as far as is known.
    pub(crate) fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Relaxed)
    }

    pub(crate) async fn load(&self, key: Key) -> Result<Option<Stored>, StoreError> {
        self.read(self.store.load(key)).await
    }

    pub(crate) async fn find(&self, tag: Tag) -> Result<Vec<Key>, StoreError> {
        self.read(self.store.find(tag)).await
    }

    pub(crate) async fn delete(&self, key: Key, expected: Option<Version>) -> Result<bool, StoreError> {
        self.write(self.store.delete(key, expected)).await
    }

    /// Writes the record, whose bytes are no other record's. Where the outcome is unknown the row is read: it says whether
    /// this record is written.
    pub(crate) async fn swap(
        &self,
        key: Key,
        expected: Option<Version>,
        record: Record,
    ) -> Result<Option<Version>, StoreError> {
        record.check()?;
        let bytes = record.bytes.clone();
        let written = self.write(self.store.swap(key, expected, record)).await;
        match written {
            Err(error) if error.kind() == StoreErrorKind::OutcomeUnknown => match self.load(key).await {
                Ok(Some(stored)) if stored.record.bytes == bytes => Ok(Some(stored.version)),
                Ok(stored) if stored.as_ref().map(|stored| stored.version) != expected => Ok(None),
                // It may still come.
                Ok(_) | Err(_) => Err(error),
            },
            written => written,
        }
    }

    async fn read<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let read = metrics::timed(&self.clock, "store_read", self.timed(call, StoreError::unavailable));
        read.await.map_err(StoreError::of_a_read)
    }

    async fn write<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let written = self.timed(call, StoreError::outcome_unknown);
        let written = metrics::timed(&self.clock, "store_write", written).await;
        self.write_failed.store(written.is_err(), Ordering::Relaxed);
        written
    }

    async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
        late: fn(&'static str, &'static str) -> StoreError,
    ) -> Result<T, StoreError> {
        let mut call = pin!(self.events.observe(call));
        // Memory answers at once, and needs no timer.
        let mut timer = None;
        let result = poll_fn(|cx| match guarded("the store", || call.as_mut().poll(cx)) {
            Some(Poll::Ready(result)) => Poll::Ready(result),
            None => Poll::Ready(Err(late("it panicked", "a panic of the store"))),
            Some(Poll::Pending) => {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(DEADLINE)));
                let late = || late("it did not answer in time", "5 seconds are over");
                timer.as_mut().poll(cx).map(|()| Err(late()))
            }
        })
        .await;
        if let Err(error) = &result {
            self.events.emit(EventCode::StoreFailed, None, error);
        }
        result
    }
}
