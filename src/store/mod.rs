//! Where records are kept: a store is dumb, sees sealed bytes only, and decides nothing.
//!
//! # The contract
//!
//! 1. [`Store::swap`] is the only write. It succeeds when the row's version is the expected one (`None`: no
//!    such row), atomically, also among several processes, and gives the row a new version. A version is
//!    never used twice for one key, not even after the row was deleted and written again.
//! 2. A record that [`Store::swap`] acknowledged is found by every later [`Store::load`] of every process.
//! 3. [`Store::delete`] with an expected version deletes that version only; without one, whatever is there.
//!    Deleting what is not there is not an error.
//! 4. [`Store::find`] lists the rows whose record carries a tag. It changes with the record, atomically.
//! 5. [`Record::expires_at`] decides whether a record counts, and the *caller* compares it with its clock. A
//!    store may return an expired record. [`Store::delete_expired`] deletes such records, and no others.
//! 6. [`Store::wait`] returns when the row's version is not the given one any more, at the latest after the
//!    time given. It may return too early. By default it polls.
//! 7. `Err` is for the system: unreachable, slow, full. A row that is not there is `Ok(None)`.
//!    [`StoreError::kind`] says what a caller may do next.
//! 8. Dropping a future that a store returned leaves each row whole: written or not written.
//! 9. [`Store::subscribe`] tells of rows that any process wrote or deleted, for as long as it runs. It says
//!    [`Change::Any`] once it has begun to hear, and whenever something may have been missed. Nothing relies on it:
//!    what it misses is found out within [`Config::max_staleness`](crate::Config::max_staleness). By default it ends
//!    at once, for a store that cannot notify.
//!
//! Keys, tags and bytes are opaque: names are hashed and contents sealed before they come here, so a store
//! never needs to know whom or what they concern. `store::contract` (feature `test-util`) is the suite that every
//! store passes; run it over a store of your own.
//!
//! # A store of one's own
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
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! tower_oidc::store::contract::check(std::sync::Arc::new(Map::default())).await;
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

mod changes;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod columns;

#[cfg(feature = "test-util")]
pub mod contract;

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;

/// A future in a box, so that stores are trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What each method of a [`Store`] returns.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A row's name: a hash, or a keyed hash, of what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub [u8; 32]);

impl Hash for Key {
    /// Of what is a hash already, a part is as good as the whole.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, _) = self.0.as_chunks::<8>();
        state.write_u64(u64::from_le_bytes(words[0]));
    }
}

/// A name under which several rows are found: a keyed hash too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 32]);

/// Which writing of a row this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The most bytes that a [`Record`] has.
pub const MAX_RECORD: usize = 256 * 1024;

/// The most tags that a [`Record`] has.
pub const MAX_TAGS: usize = 6;

/// What a store keeps: sealed bytes and the little that it needs to handle them.
///
/// Its fields are all there are, so that a store which forgets one does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The sealed contents, up to [`MAX_RECORD`] bytes.
    pub bytes: Bytes,
    /// When the record no longer counts.
    pub expires_at: Timestamp,
    /// Under which it is found, up to [`MAX_TAGS`].
    pub tags: Vec<Tag>,
}

impl Record {
    /// Whether a store takes this record. Each store asks first in its [`Store::swap`].
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`]: it has more than [`MAX_RECORD`] bytes, or more than [`MAX_TAGS`] tags.
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

/// A record as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// To be named in the next [`Store::swap`] or [`Store::delete`].
    pub version: Version,
    /// What was written.
    pub record: Record,
}

/// What [`Store::subscribe`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// This row was written or deleted.
    Row(Key),
    /// Any row may have been: the store cannot say which, or was not listening until now.
    Any,
}

/// Five verbs, a way to wait and a way to subscribe. See the [module's contract](self).
///
/// What holds for each call, beside what each method says:
///
/// - *It succeeds*: what it says holds for every process that shares the store, from then on.
/// - *It fails*: [`StoreError::kind`] says what is known. [`Unavailable`](StoreErrorKind::Unavailable): no row changed, and
///   the same call may succeed later. [`Refused`](StoreErrorKind::Refused): no row changed, and the same call fails again.
///   [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown): a row may have changed, or change later. Calls that change nothing
///   never fail so.
/// - *It hangs*: the layer gives up after 5 seconds, drops the future, and takes the outcome for unknown, where the call
///   changes rows. A store that knows better answers before that.
/// - *It is cancelled* (its future is dropped): each row is as it was, or as the call leaves it, now or later. Others are
///   not kept waiting: a connection whose answer nobody waits for is not used for the next call.
pub trait Store: Send + Sync + 'static {
    /// The record in this row, or `None`.
    ///
    /// It returns what the last [`Store::swap`] wrote that any process saw succeed, or something newer; to the byte,
    /// whether it has expired or not. It changes nothing: after a failure it may be asked again.
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>>;

    /// Writes the record if the row is at the expected version (`None`: absent) and returns its new version; `None` when
    /// another call was first, and then it changes nothing.
    ///
    /// Of any number of calls that expect the same version one succeeds. Record and tags change at once. The new version
    /// was never this row's before. A record that [`Record::check`] refuses is refused before anything is sent.
    ///
    /// The store does not repeat it where its outcome is unknown: by then the row may be written, and written again by
    /// another process. The caller reads the row, and compares the bytes.
    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>>;

    /// Deletes the row, if it is at the expected version where one is given. True when something was deleted; of any
    /// number of calls at the same time, for one of them.
    ///
    /// A row that is absent, or at another version, is no error. The tags go with the row. Where the outcome is unknown
    /// the store does not repeat it: the second deletion would find nothing, and say that there was nothing.
    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool>;

    /// The rows that carry this tag, in any order, each once.
    ///
    /// A row that carries the tag before and after a change that is under way is among them. A row that is found may be
    /// gone when it is loaded. It changes nothing.
    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>>;

    /// Deletes records whose [`Record::expires_at`] is at or before `older_than`, and returns how many rows that were.
    ///
    /// A caller's clock may be wrong: a store that has a clock of its own, such as a server's, deletes nothing that has
    /// not expired by that clock as well. It may keep what has expired for up to 30 days more.
    ///
    /// It works in steps, each short enough for others to get their turn. After a failure, and when it is cancelled, some of
    /// these records are deleted and some are not, and the next call goes on: nobody relies on it.
    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64>;

    /// Whether records outlive this process. One that says so refuses secrets that do not.
    fn is_durable(&self) -> bool {
        true
    }

    /// Returns once the row is not at version `after` any more (`None`: exists), or after `within`.
    ///
    /// It may return too early: the caller looks at the row. It returns at once where the row has changed already. After a
    /// failure, and when it is cancelled, nothing is left behind.
    ///
    /// The default polls, every 25 to 200 milliseconds. Override it where the database can notify.
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

    /// Tells `heard` of what any process changes, this one included, until it is dropped. `heard` returns at once,
    /// does not panic and may be called for more than was changed.
    ///
    /// `Err` when it cannot hear any more: it is called again after a pause. `Ok` when it never will: the default,
    /// for a store that cannot notify. Override it where the database can, so that who signs out in one process is
    /// signed out in the others at the same moment.
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

/// What a caller may do after a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Nothing was written. The same call may succeed later.
    Unavailable,
    /// Nothing was written. The same call never succeeds: the record is too large, a row is damaged, the tables are of
    /// another version.
    Refused,
    /// A write or a deletion happened, happens later, or never does. Read the row before you write again.
    OutcomeUnknown,
}

/// The store did not do what it was asked, or does not know whether it did.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: &'static str,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// [`StoreErrorKind::Unavailable`], and the library's own error. `message` must hold no secret of a URL.
    pub fn unavailable(
        message: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message, source: Some(source.into()) }
    }

    /// [`StoreErrorKind::OutcomeUnknown`], and the library's own error. It is for [`Store::swap`] and
    /// [`Store::delete`]: a look-up that fails leaves nothing unknown.
    pub fn outcome_unknown(
        message: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: StoreErrorKind::OutcomeUnknown, message, source: Some(source.into()) }
    }

    /// [`StoreErrorKind::Refused`], and the library's own error.
    pub fn refused_by(
        message: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: StoreErrorKind::Refused, message, source: Some(source.into()) }
    }

    /// [`StoreErrorKind::Refused`], where there is no cause but the message.
    pub const fn refused(message: &'static str) -> Self {
        Self { kind: StoreErrorKind::Refused, message, source: None }
    }

    /// What the caller may do next.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The error of a call that writes nothing: nothing is unknown.
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
