//! Calls to the store, which return in time, and how the last write ended.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use super::Records;
use crate::events::{EventCode, guarded, timed};
use crate::store::{Key, Record, StoreError, StoreErrorKind, Stored, Version};

/// The longest that one call to the store may take.
const DEADLINE: Duration = Duration::from_secs(5);

impl Records {
    /// The row as it lies in the store.
    pub(super) async fn stored(&self, key: Key) -> Result<Option<Stored>, StoreError> {
        self.read(self.store.load(key)).await
    }

    /// Writes the record, whose bytes are no other record's. Where the outcome is unknown the row is read: it says whether
    /// this record is written.
    pub(super) async fn swap_stored(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> Result<Option<Version>, StoreError> {
        record.check()?;
        let bytes = record.bytes.clone();
        let written = self.write(self.store.swap(key, expected, record)).await;
        match written {
            Err(error) if error.kind() == StoreErrorKind::OutcomeUnknown => match self.stored(key).await {
                Ok(Some(stored)) if stored.record.bytes == bytes => Ok(Some(stored.version)),
                Ok(stored) if stored.as_ref().map(|stored| stored.version) != expected => Ok(None),
                // It may still come.
                Ok(_) | Err(_) => Err(error),
            },
            written => written,
        }
    }

    pub(super) async fn read<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let read = timed(&self.clock, "store_read", self.timed(call, StoreError::unavailable));
        read.await.map_err(StoreError::of_a_read)
    }

    pub(super) async fn write<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let written = self.timed(call, StoreError::outcome_unknown);
        let written = timed(&self.clock, "store_write", written).await;
        self.write_failed.store(written.is_err(), Ordering::Relaxed);
        written
    }

    async fn timed<T>(
        &self, call: impl Future<Output = Result<T, StoreError>>, late: fn(&'static str, &'static str) -> StoreError,
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
