//! Stores of sealed records. A store sees sealed bytes only, and makes no decisions.
//!
//! # The contract
//!
//! 1. [`Store::swap`] is the only write. It succeeds if the row has the expected version (`None`: the row does not
//!    exist), atomically, also among several processes, and gives the row a new version. A version is
//!    never used twice for one key, not even after the row was deleted and written again.
//! 2. Every later [`Store::load`] of every process finds a record that [`Store::swap`] acknowledged.
//! 3. [`Store::delete`] with an expected version deletes that version only; without one it deletes any version.
//!    Deleting a row that does not exist is no error.
//! 4. [`Store::find`] lists the rows whose record carries a tag. The list changes together with the record, atomically.
//! 5. [`Record::expires_at`] decides whether a record is valid, and the *caller* compares it with its clock. A
//!    store may return an expired record. [`Store::delete_expired`] deletes expired records, and no others.
//! 6. [`Store::wait`] returns when the row no longer has the given version, at the latest after the
//!    given time. It may return too early. By default it polls.
//! 7. `Err` is for failures of the system: unreachable, slow, full. A row that does not exist is `Ok(None)`.
//!    [`StoreError::kind`] tells the caller its options.
//! 8. Dropping a future of a store leaves each row whole: written or not written.
//! 9. [`Store::subscribe`] reports rows that any process wrote or deleted, for as long as it runs. It reports
//!    [`Change::Any`] once it has started to listen, and whenever it may have missed a change. No promise depends on it:
//!    a missed change is noticed within [`Config::max_staleness`](crate::Config::max_staleness). By default it ends
//!    at once, for a store that cannot notify.
//!
//! Keys, tags and bytes are opaque: names are hashed and contents sealed before they reach the store.
//! A suite of tests checks each of these sentences on the stores of this crate. It is in the repository,
//! `tests/support/src/store_contract`: copy it, and run it with a store of your own.
//!
//! # A store of your own
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Mutex;
//! use tower_oidc::store::{Key, Record, Store, StoreFuture, Stored, Tag, Version};
//! use tower_oidc::Timestamp;
//!
//! #[derive(Default)]
//! struct Map(Mutex<(u64, HashMap<Key, Stored>)>);
//!
//! impl Store for Map {
//!     fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
//!         Box::pin(async move { Ok(self.0.lock().unwrap().1.get(&key).cloned()) })
//!     }
//!
//!     fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
//!         Box::pin(async move {
//!             record.check()?;
//!             let (last, rows) = &mut *self.0.lock().unwrap();
//!             if rows.get(&key).map(|row| row.version) != expected {
//!                 return Ok(None);
//!             }
//!             *last += 1;
//!             let version = Version(*last);
//!             rows.insert(key, Stored { version, record });
//!             Ok(Some(version))
//!         })
//!     }
//!
//!     fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
//!         Box::pin(async move {
//!             let rows = &mut self.0.lock().unwrap().1;
//!             let matches = rows.get(&key).is_some_and(|row| expected.is_none_or(|v| v == row.version));
//!             Ok(matches && rows.remove(&key).is_some())
//!         })
//!     }
//!
//!     fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
//!         Box::pin(async move {
//!             let rows = &self.0.lock().unwrap().1;
//!             let tagged = rows.iter().filter(|(_, row)| row.record.tags.contains(&tag));
//!             Ok(tagged.map(|(key, _)| *key).collect())
//!         })
//!     }
//!
//!     fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
//!         Box::pin(async move {
//!             let rows = &mut self.0.lock().unwrap().1;
//!             let before = rows.len();
//!             rows.retain(|_, row| row.record.expires_at > older_than);
//!             Ok((before - rows.len()) as u64)
//!         })
//!     }
//! }
//!
//! # fn f(config: tower_oidc::Config) -> Result<(), tower_oidc::ConfigError> {
//! let auth = tower_oidc::OidcLayer::per_user(config, Map::default())?;
//! # Ok(())
//! # }
//! ```

mod memory;
pub use memory::MemoryStore;

#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod columns;
mod notifier;
pub(crate) use self::notifier::Notifier;

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tower::BoxError;

use crate::clock::Timestamp;

/// A boxed future, so that stores are trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The future of each method of a [`Store`].
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The name of a row: a hash, or a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

impl Hash for Key {
    /// Uses a part of the key, which is a hash already.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, _) = self.0.as_chunks::<8>();
        state.write_u64(u64::from_le_bytes(words[0]));
    }
}

/// A name under which several rows are found: a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 32]);

/// The version of a row. Each write gives the row a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The maximum size of a [`Record`], in bytes.
pub const MAX_RECORD: usize = 256 * 1024;

/// The maximum number of tags of a [`Record`].
pub const MAX_TAGS: usize = 6;

/// The contents of a row: sealed bytes, their expiry, and tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The sealed contents, at most [`MAX_RECORD`] bytes.
    pub bytes: Bytes,
    /// The time at which the record expires.
    pub expires_at: Timestamp,
    /// The tags under which the record is found, at most [`MAX_TAGS`].
    pub tags: Vec<Tag>,
}

impl Record {
    /// Checks the limits of a record. Each store calls it first in its [`Store::swap`].
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] if the record has more than [`MAX_RECORD`] bytes, or more than [`MAX_TAGS`] tags.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.bytes.len() > MAX_RECORD {
            return Err(StoreError::refused("a record has 256 KiB at most, and this one is larger"));
        }
        if self.tags.len() > MAX_TAGS {
            return Err(StoreError::refused("a record has six tags at most, and this one has more"));
        }
        Ok(())
    }
}

/// A record with its version in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version, to be passed to the next [`Store::swap`] or [`Store::delete`].
    pub version: Version,
    /// The record, as it was written.
    pub record: Record,
}

/// A change that [`Store::subscribe`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// This row was written or deleted.
    Row(Key),
    /// Any row may have been written or deleted: the store does not know which, or has only now started to listen.
    Any,
}

/// A table of sealed records: five operations, a way to wait and a way to subscribe. See the [module's
/// contract](self).
///
/// For each call, in addition to the method's own documentation:
///
/// - *It succeeds*: its result holds for every process that shares the store, from then on.
/// - *It fails*: [`StoreError::kind`] states the outcome. [`Unavailable`](StoreErrorKind::Unavailable): no row
///   changed, and the same call may succeed later. [`Refused`](StoreErrorKind::Refused): no row changed, and the same
///   call fails again. [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown): a row may have changed, or may change
///   later. Calls that change nothing never fail in this way.
/// - *It hangs*: the layer gives up after 5 seconds, drops the future, and treats the outcome as unknown if the call
///   changes rows. A store that knows the outcome answers before that.
/// - *It is cancelled* (its future is dropped): each row is as it was before, or as it is after the call, now or
///   later. Other calls do not wait: a connection with an unread response is not used for the next call.
pub trait Store: Send + Sync + 'static {
    /// Returns the record in this row, or `None`.
    ///
    /// The record is the one of the last [`Store::swap`] that succeeded in any process, or a newer one; byte for byte,
    /// expired or not. The call changes nothing: after a failure it may be repeated.
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>>;

    /// Writes the record if the row has the expected version (`None`: the row does not exist), and returns its new
    /// version. Returns `None` and changes nothing if the row has another version.
    ///
    /// Of any number of calls with the same expected version one succeeds. Record and tags change together. The row
    /// never had the new version before. A record that [`Record::check`] refuses is refused before anything is sent.
    ///
    /// The store does not repeat a write with an unknown outcome: the row may be written by then, and written again by
    /// another process. The caller reads the row and compares the bytes.
    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>>;

    /// Deletes the row, only at the expected version if one is given. Returns whether it deleted the row; of several
    /// calls at the same time, one returns true.
    ///
    /// A row that does not exist, or has another version, is no error. The tags are deleted with the row. The store
    /// does not repeat a deletion with an unknown outcome: the second one would find no row and return false.
    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool>;

    /// Returns the rows that carry this tag, in any order, each once.
    ///
    /// The result includes a row that carries the tag before and after a change in progress. A row of the result may
    /// be deleted before it is loaded. The call changes nothing.
    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>>;

    /// Deletes records whose [`Record::expires_at`] is at or before `older_than`, and returns the number of deleted
    /// rows.
    ///
    /// A caller's clock may be wrong: a store with a clock of its own, such as a server's, deletes only records that
    /// have also expired by that clock. It may keep expired records for up to 30 days more.
    ///
    /// It works in short steps, so that other calls are not delayed. After a failure, and after cancellation, some of
    /// these records are deleted and some are not, and the next call continues.
    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64>;

    /// Whether records outlive this process. A layer with a durable store refuses to start without a configured
    /// session secret.
    fn is_durable(&self) -> bool {
        true
    }

    /// Returns when the row no longer has the version `after` (`None`: when it exists), or after the time `within`.
    ///
    /// It may return too early: the caller reads the row. It returns at once if the row has changed already. After a
    /// failure or cancellation it leaves nothing behind.
    ///
    /// The default polls, every 25 to 200 milliseconds. Override it if the database can notify.
    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let polling = async {
                // Rows are named by hashes: their bytes spread the pollers of different rows.
                let jitter = u64::from(key.0[0] % 25);
                for round in 0_u64.. {
                    if self.load(key).await?.map(|stored| stored.version) != after {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis((25 + jitter) << round.min(2))).await;
                }
                Ok(())
            };
            tokio::time::timeout(within, polling).await.unwrap_or(Ok(()))
        })
    }

    /// Calls `heard` for every row written or deleted by any process, including this one, until the future is dropped.
    /// `heard` returns at once and does not panic. It may be called for more rows than were changed.
    ///
    /// `Err` if the store cannot listen at the moment: it is called again after a pause. `Ok` if it never can: the
    /// default, for a store that cannot notify. Override it if the database can notify, so that a logout at one
    /// process takes effect on all processes at once.
    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        let _ = heard;
        Box::pin(std::future::ready(Ok(())))
    }
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        (**self).load(key)
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        (**self).swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        (**self).delete(key, expected)
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        (**self).find(tag)
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        (**self).delete_expired(older_than)
    }

    fn is_durable(&self) -> bool {
        (**self).is_durable()
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        (**self).wait(key, after, within)
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        (**self).subscribe(heard)
    }
}

/// The outcome of a failed call, and the caller's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Nothing was written. The same call may succeed later.
    Unavailable,
    /// Nothing was written. The same call never succeeds: the record is too large, a row is damaged, or the tables are
    /// of another version.
    Refused,
    /// A write or a deletion has happened, will happen later, or never will. Read the row before you write again.
    OutcomeUnknown,
}

/// The error of a [`Store`].
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: &'static str,
    #[source]
    source: Option<BoxError>,
}

impl StoreError {
    /// An error of the kind [`StoreErrorKind::Unavailable`], with its cause. `message` must not contain secrets of a
    /// URL.
    pub fn unavailable(message: &'static str, source: impl Into<BoxError>) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message, source: Some(source.into()) }
    }

    /// An error of the kind [`StoreErrorKind::OutcomeUnknown`], with its cause. It is for [`Store::swap`] and
    /// [`Store::delete`] only: a failed read changes nothing.
    pub fn outcome_unknown(message: &'static str, source: impl Into<BoxError>) -> Self {
        Self { kind: StoreErrorKind::OutcomeUnknown, message, source: Some(source.into()) }
    }

    /// An error of the kind [`StoreErrorKind::Refused`], with its cause.
    pub fn refused_by(message: &'static str, source: impl Into<BoxError>) -> Self {
        Self { kind: StoreErrorKind::Refused, message, source: Some(source.into()) }
    }

    /// An error of the kind [`StoreErrorKind::Refused`], without a cause.
    pub const fn refused(message: &'static str) -> Self {
        Self { kind: StoreErrorKind::Refused, message, source: None }
    }

    /// The outcome of the call, and the caller's options.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The error of a call that writes nothing: its outcome is never unknown.
    pub(crate) fn of_a_read(self) -> Self {
        match self.kind {
            StoreErrorKind::OutcomeUnknown => Self { kind: StoreErrorKind::Unavailable, ..self },
            StoreErrorKind::Unavailable | StoreErrorKind::Refused => self,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}
