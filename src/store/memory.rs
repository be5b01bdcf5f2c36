//! A store in this process's memory, lost when the process ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;

use super::notifier::Notifier;
use super::{Change, Key, Record, Store, StoreError, StoreFuture, Stored, Tag, Version};
use crate::clock::Timestamp;
use crate::secret::opaque;

/// A store in memory, for development, tests, and applications of one process that may lose their sessions at a
/// restart. Clones share their rows.
///
/// It never deletes a valid record to make room: with a [capacity](MemoryStore::with_capacity) it refuses new rows,
/// which the layer answers with 503, and every signed-in user stays signed in.
#[derive(Clone)]
pub struct MemoryStore(Arc<MemoryShared>);

struct MemoryShared {
    /// Reads go here without a lock. Writes hold `index`, which makes compare-and-swap atomic.
    rows: Cache<Key, Stored>,
    index: Mutex<Index>,
    capacity: u64,
    changes: Notifier,
}

#[derive(Default)]
struct Index {
    last_version: u64,
    count: u64,
    /// One tree for all: a set for each tag would cost three times as much.
    tagged: BTreeSet<(Tag, Key)>,
}

impl MemoryStore {
    /// A store that is limited by the memory of the machine only.
    pub fn new() -> Self {
        Self::with_capacity(u64::MAX)
    }

    /// A store that refuses new rows while it holds `rows` of them. A signed-in browser needs two rows, and each login
    /// one more for twice the login's lifetime.
    pub fn with_capacity(rows: u64) -> Self {
        // No capacity and no time to live: moka must never choose what is forgotten.
        let (cache, changes) = (Cache::builder().build(), Notifier::default());
        Self(Arc::new(MemoryShared { rows: cache, index: Mutex::default(), capacity: rows, changes }))
    }

    /// The number of rows, including expired rows that are not deleted yet.
    pub fn len(&self) -> u64 {
        self.0.index.lock().count
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn delete_now(&self, key: Key, condition: impl Fn(&Stored) -> bool) -> bool {
        let mut index = self.0.index.lock();
        let Some(stored) = self.0.rows.get(&key).filter(condition) else { return false };
        index.untag(key, &stored.record);
        index.count -= 1;
        self.0.rows.invalidate(&key);
        drop(index);
        self.0.changes.tell(Change::Row(key));
        true
    }
}

impl Index {
    fn untag(&mut self, key: Key, record: &Record) {
        for tag in &record.tags {
            self.tagged.remove(&(*tag, key));
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        Box::pin(async move { Ok(self.0.rows.get(&key)) })
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        Box::pin(async move {
            record.check()?;
            let mut index = self.0.index.lock();
            let present = self.0.rows.get(&key);
            if present.as_ref().map(|stored| stored.version) != expected {
                return Ok(None);
            }
            if present.is_none() && index.count >= self.0.capacity {
                return Err(StoreError::refused("it holds as many records as it may"));
            }
            match &present {
                Some(stored) => index.untag(key, &stored.record),
                None => index.count += 1,
            }
            index.tagged.extend(record.tags.iter().map(|tag| (*tag, key)));
            index.last_version += 1;
            let version = Version(index.last_version);
            self.0.rows.insert(key, Stored { version, record });
            drop(index);
            self.0.changes.tell(Change::Row(key));
            Ok(Some(version))
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        let is_expected = move |stored: &Stored| expected.is_none_or(|version| version == stored.version);
        Box::pin(async move { Ok(self.delete_now(key, is_expected)) })
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        Box::pin(async move {
            let keys = (tag, Key([0; 32]))..=(tag, Key([u8::MAX; 32]));
            Ok(self.0.index.lock().tagged.range(keys).map(|(_, key)| *key).collect())
        })
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let is_due = |stored: &Stored| stored.record.expires_at <= older_than;
            let due = self.0.rows.iter().filter(|(_, stored)| is_due(stored)).map(|(key, _)| *key);
            let due: Vec<Key> = due.collect();
            // Each row by itself, so that nobody waits for the whole sweep.
            let deleted = due.into_iter().filter(|key| self.delete_now(*key, is_due));
            Ok(deleted.count() as u64)
        })
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        // Each write is told here.
        Box::pin(self.0.changes.wait(self, key, after, within, std::future::pending))
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        Box::pin(self.0.changes.relay(heard))
    }
}

opaque!(MemoryStore, |store| len = store.len());
