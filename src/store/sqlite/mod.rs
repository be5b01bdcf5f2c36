//! Records in a file.

mod connections;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;
use tokio::sync::Mutex;

use self::connections::ConnectionPool;
use self::tables::Writer;
use super::columns::Columns;
use super::notifier::Notifier;
use super::{Change, Key, Record, Store, StoreError, StoreFuture, Stored, Tag, Version};
use crate::clock::{Clock, Random, Timestamp};
use crate::secret::{Secret, opaque};

/// How many look-ups run at once. SQLite writes one at a time.
const READERS: usize = 4;
/// How often a process that waits asks whether another one wrote: a look at shared memory.
const LOOK: Duration = Duration::from_millis(50);
/// What a sweep leaves to others between two batches, processes included that ask for the lock now and then.
const PAUSE: Duration = Duration::from_millis(20);

/// A store in a file of SQLite, for applications on one machine: sessions and grants survive a restart, and nothing
/// has to be installed. Clones share their connections.
///
/// ```
/// use tower_oidc::store::SqliteStore;
///
/// # let folder = std::env::temp_dir().join(format!("tower-oidc-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("records.sqlite");
/// let store = SqliteStore::open(&path)?;
/// # drop(store);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), tower_oidc::store::StoreError>(())
/// ```
///
/// # What the file holds
///
/// Everything is a hash, sealed, or a number: nothing in it names a person or opens an account. The application may
/// keep tables of its own in the same file.
///
/// | table | column | meaning |
/// |---|---|---|
/// | `tower_oidc_records` | `key` | the row's name, 32 bytes: a hash |
/// | | `version` | which writing this is |
/// | | `expires_at` | when it no longer counts, in milliseconds since the Unix epoch; indexed |
/// | | `tag1` to `tag6` | under which it is found for logouts, 32 bytes each: keyed hashes; indexed |
/// | | `contents` | the record, sealed |
/// | `tower_oidc_state` | `schema_version` | the version of these tables, 1 |
/// | | `last_version` | the last version that was given; it outlives the rows |
/// | | `last_writer` | a random number of the process that wrote last |
/// | | `last_written_at`, `previous_written_at` | when it wrote, and when the process before it did, each by its own clock |
///
/// # What it promises
///
/// - *Durability*: a write-ahead log with `synchronous = FULL`. What was acknowledged survives the loss of power; each
///   write waits for the disk once.
/// - *Several processes* may share the file, on one machine and not over a network file system. A call waits two seconds
///   for others of its process, and a write two for another process's: it is `Unavailable` then. A write to a
///   disk that does not answer is `OutcomeUnknown` within five seconds, a look-up `Unavailable`. A new file can be read by its owner only (mode 0600).
/// - *Waiting and listening*: writes of this process are heard at once, by their rows. For writes of others one of
///   those who wait or listen asks SQLite's `data_version` every 50 milliseconds, which reads no file and does not
///   say which row it was.
/// - *Collecting*: the layer calls [`delete_expired`](Store::delete_expired) at most every ten minutes in each process,
///   while people sign in, which is fine: it deletes 500 rows at a time and lets others write in between. A process
///   whose clock is wrong deletes nothing that others need: what has expired goes at once where another process wrote
///   within the last minute and its clock agrees, and after 30 days otherwise. The space is used again; the file does
///   not shrink.
///
/// Back it up with SQLite's own means (`VACUUM INTO`, `.backup`): a copy of the file alone misses its log.
#[derive(Clone)]
pub struct SqliteStore(Arc<SqliteShared>, Writer);

struct SqliteShared {
    readers: Arc<ConnectionPool>,
    writer: Arc<ConnectionPool>,
    changes: Notifier,
    /// The writer's `data_version` when somebody looked last: it changes when another process writes.
    seen: Mutex<i64>,
}

impl SqliteStore {
    /// Opens the file, creates it where it is missing, and brings its tables to this version.
    ///
    /// # Errors
    ///
    /// The path is no file's, the file cannot be written or is no database, or its tables are of a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, "")
    }

    /// Opens the file with settings of the application's own: statements of SQL, such as `PRAGMA`, which each connection to
    /// the file runs first when it is made.
    ///
    /// ```
    /// # use tower_oidc::store::SqliteStore;
    /// # let folder = std::env::temp_dir().join(format!("tower-oidc-doc-with-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("records.sqlite");
    /// let store = SqliteStore::open_with(&path, "PRAGMA mmap_size = 268435456; PRAGMA journal_size_limit = 4194304;")?;
    /// # drop(store);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), tower_oidc::store::StoreError>(())
    /// ```
    ///
    /// The store's own settings come after them and win: `synchronous` and `busy_timeout`. Leave `journal_mode`, `locking_mode`
    /// and `query_only` alone: the store needs its write-ahead log, and has several connections to the file.
    ///
    /// With SQLCipher (the feature `bundled-sqlcipher` of `rusqlite`) the first statement is `PRAGMA key`. The settings are
    /// kept as a [`Secret`]: they are in no error, no log and no `Debug`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); also where SQLite refuses one of the statements. It ignores a `PRAGMA` whose name it does not
    /// know.
    pub fn open_with(path: impl AsRef<Path>, settings: impl Into<Secret>) -> Result<Self, StoreError> {
        let (path, settings) = (path.as_ref(), settings.into());
        Self::migrate_with(path, settings.clone())?;
        Self::open_migrated_with(path, settings)
    }

    /// Opens a file whose tables are there already, for those who change no tables at start.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); also where the file or its tables are missing or of an older version, for which
    /// [`migrate`](Self::migrate) is there.
    pub fn open_migrated(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_migrated_with(path, "")
    }

    /// Opens a file whose tables are there already, with settings as for [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// As [`open_migrated`](Self::open_migrated) and [`open_with`](Self::open_with).
    pub fn open_migrated_with(path: impl AsRef<Path>, settings: impl Into<Secret>) -> Result<Self, StoreError> {
        let (path, settings) = (path.as_ref(), settings.into());
        connections::check_path(path)?;
        tables::check(&connections::open(path, &settings)?)?;
        let [readers, writer] = [READERS, 1].map(|count| ConnectionPool::new(path, &settings, count));
        let (changes, seen) = Default::default();
        let by = Writer { id: i64::from_be_bytes(Random::system().bytes()), clock: Clock::system() };
        Ok(Self(Arc::new(SqliteShared { readers, writer, changes, seen }), by))
    }

    /// Creates the file and its tables, or brings them to this version; does nothing where that is done. Any number
    /// of processes may do so at once.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn migrate(path: impl AsRef<Path>) -> Result<(), StoreError> {
        Self::migrate_with(path, "")
    }

    /// Creates the file and its tables, or brings them to this version, with settings as for [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn migrate_with(path: impl AsRef<Path>, settings: impl Into<Secret>) -> Result<(), StoreError> {
        let path = path.as_ref();
        connections::check_path(path)?;
        connections::create(path)?;
        tables::migrate(&mut connections::open(path, &settings.into())?)
    }

    /// Another clock than the system's, for tests: it says when this process wrote.
    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self(self.0, Writer { clock, ..self.1 })
    }

    /// Ends when another process wrote: one of those who wait and listen looks, for all of them.
    async fn look(&self) {
        let mut seen = self.0.seen.lock().await;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.0.writer.run(tables::data_version).await {
                Ok(version) if version == *seen => {}
                Ok(version) => {
                    *seen = version;
                    return self.0.changes.tell(Change::Any);
                }
                // Whoever looks at the row next says what is wrong.
                Err(_) => return,
            }
        }
    }
}

impl Store for SqliteStore {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        Box::pin(self.0.readers.read(move |connection| tables::load(connection, key)))
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        Box::pin(async move {
            let (record, writer) = (Columns::try_from(record)?, self.1.clone());
            let swap = move |connection: &mut _| tables::swap(connection, &writer, key, expected, &record);
            let written = self.0.writer.run(swap).await?;
            if written.is_some() {
                self.0.changes.tell(Change::Row(key));
            }
            Ok(written)
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let deleted = self.0.writer.run(move |connection| tables::delete(connection, key, expected)).await?;
            if deleted {
                self.0.changes.tell(Change::Row(key));
            }
            Ok(deleted)
        })
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        Box::pin(self.0.readers.read(move |connection| tables::find(connection, tag)))
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut deleted = 0;
            loop {
                let writer = self.1.clone();
                let delete = move |connection: &mut _| tables::delete_expired(connection, &writer, older_than);
                let batch = self.0.writer.run(delete).await?;
                deleted += batch;
                if batch < u64::from(tables::BATCH) {
                    return Ok(deleted);
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        Box::pin(self.0.changes.wait(self, key, after, within, || self.look()))
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let looking = async {
                loop {
                    self.look().await;
                }
            };
            tokio::select! {
                ended = self.0.changes.relay(heard) => ended,
                () = looking => Ok(()),
            }
        })
    }
}

opaque!(SqliteStore, |store| path = store.0.writer.path);

/// Nothing was written, and the same call may succeed later.
const MAY_PASS: [ErrorCode; 7] = {
    use ErrorCode::*;
    [DatabaseBusy, DatabaseLocked, FileLockingProtocolFailed, DiskFull, OutOfMemory, CannotOpen, OperationInterrupted]
};

fn failed(error: rusqlite::Error) -> StoreError {
    const MESSAGE: &str = "SQLite did not do it";
    match error.sqlite_error_code() {
        // It may fail after the log was written: whoever opens the file next may find it there.
        Some(ErrorCode::SystemIoFailure) => StoreError::outcome_unknown(MESSAGE, error),
        Some(code) if MAY_PASS.contains(&code) => StoreError::unavailable(MESSAGE, error),
        _ => StoreError::refused_by(MESSAGE, error),
    }
}
