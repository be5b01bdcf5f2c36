//! Connections to the file, and the threads that wait for it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::StoreError;
use super::failed;
use crate::secret::Secret;

/// Callers wait five seconds for a store. A call waits for one of the connections first, then for its answer.
const TURN: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_millis(2750);
/// How long a connection waits for another process that writes.
const BUSY: Duration = Duration::from_secs(2);

/// How often, and after which pause, the log of a new file is asked for again.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// A few connections. Nothing of SQLite runs on a thread of the runtime.
pub(super) struct ConnectionPool {
    pub(super) path: PathBuf,
    settings: Secret,
    /// Each with the file that it opened.
    idle: Mutex<Vec<(Connection, FileId)>>,
    permits: Arc<Semaphore>,
}

impl ConnectionPool {
    pub(super) fn new(path: &Path, settings: &Secret, count: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(count));
        Arc::new(Self { path: path.to_owned(), settings: settings.clone(), idle: Mutex::default(), permits })
    }

    /// Does the work with one connection, to its end even where nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>, work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = timeout(TURN, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(StoreError::unavailable("other calls keep SQLite busy", "no connection is free"));
        };
        let connections = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            // What is written to a file that was replaced or deleted is lost with its last connection.
            let file = file_id(&connections.path)?;
            let mut idle = connections.idle.lock().pop();
            while let Some((old, _)) = idle.take_if(|(_, opened)| *opened != file) {
                // The log by that name may be the new file's: closing must not delete it.
                old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
                idle = connections.idle.lock().pop();
            }
            let mut connection = match idle {
                Some((connection, _)) => connection,
                None => open(&connections.path, &connections.settings)?,
            };
            let done = work(&mut connection);
            // One that could not even take its work back is of no use to the next.
            if connection.is_autocommit() {
                connections.idle.lock().push((connection, file));
            }
            drop(permit);
            done
        });
        timeout(ANSWER, task)
            .await
            .map_err(|late| StoreError::outcome_unknown("SQLite did not answer in time", late))?
            .map_err(|ended| StoreError::outcome_unknown("the task that asked it ended", ended))?
    }

    /// Does work that writes nothing.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>, work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(work).await.map_err(StoreError::of_a_read)
    }
}

/// Device and inode: a path may lead to another file than it did.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Result<FileId, StoreError> {
    let file = std::fs::metadata(path);
    let file = file.map_err(|error| StoreError::unavailable("the file of SQLite is gone", error))?;
    #[cfg(unix)]
    return Ok((std::os::unix::fs::MetadataExt::dev(&file), std::os::unix::fs::MetadataExt::ino(&file)));
    #[cfg(not(unix))]
    Ok((0, u64::from(file.is_dir())))
}

/// A connection to a file that exists, with the application's settings before ours.
pub(super) fn open(path: &Path, settings: &Secret) -> Result<Connection, StoreError> {
    // No URIs: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // SQLite's own words repeat a part of the statement, which may be a key.
    let without_words = |error: Error| {
        let code = error.sqlite_error().copied().unwrap_or(ffi::Error::new(ffi::SQLITE_ERROR));
        let message = "SQLite refuses a setting of the application";
        StoreError { message, ..failed(Error::SqliteFailure(code, None)) }
    };
    connection.execute_batch(settings.expose_secret()).map_err(without_words)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // FULL: what was acknowledged is on the disk. A refresh token that rotated has no other copy.
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let journal = write_ahead(&connection).map_err(failed)?;
    if journal != "wal" {
        return Err(StoreError::refused("the file of SQLite lies where it cannot have a write-ahead log"));
    }
    // SQLite opens what it cannot write as well.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(StoreError::refused("the file of SQLite can only be read"));
    }
    Ok(connection)
}

/// A new file gets its log from whoever is first. SQLite does not always wait for others who try at the same time.
fn write_ahead(connection: &Connection) -> rusqlite::Result<String> {
    let mut attempts = 0;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && attempts < ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// Creates the file where it is missing, for this user's eyes only.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path).map(drop);
    opened.map_err(|error| StoreError::unavailable("the file of SQLite cannot be opened", error))
}

/// What is no file, or none that several connections share.
pub(super) fn check_path(path: &Path) -> Result<(), StoreError> {
    let name = path.to_string_lossy();
    if name.is_empty() || name.starts_with(":memory:") || name.starts_with("file:") {
        return Err(StoreError::refused("SQLite needs the path of a file; `MemoryStore` keeps records in memory"));
    }
    if path.is_dir() {
        return Err(StoreError::refused("SQLite needs the path of a file, and this is a directory"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What survives the loss of power cannot be tested here, but that SQLite was asked for it.
    #[test]
    fn writes_wait_for_the_disk_and_for_others() {
        let path = std::env::temp_dir().join(format!("tower-oidc-{}.sqlite", std::process::id()));
        create(&path).unwrap();
        let connection = open(&path, &Secret::default()).unwrap();
        let ask = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(ask("synchronous"), 2, "FULL");
        assert_eq!(ask("busy_timeout"), 2_000);
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(journal, "wal");
        drop(connection);
        std::fs::remove_file(&path).unwrap();
    }

    /// On a new connection while another one is open, as readers and writer are.
    #[test]
    fn the_applications_settings_come_first_and_ours_win() {
        let path = std::env::temp_dir().join(format!("tower-oidc-settings-{}.sqlite", std::process::id()));
        create(&path).unwrap();
        let settings =
            "PRAGMA page_size = 8192; PRAGMA cache_size = 77; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 1;
                        PRAGMA mmap_size = 65536 -- which answers with a row";
        let connections = [(); 2].map(|()| open(&path, &settings.into()).unwrap());
        for connection in &connections {
            let ask = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!([ask("cache_size"), ask("mmap_size")], [77, 65_536]);
            assert_eq!(ask("page_size"), 8192, "it counts before the log is made only");
            assert_eq!([ask("synchronous"), ask("busy_timeout")], [2, 2_000]);
        }
        drop(connections);
        std::fs::remove_file(&path).unwrap();
    }

    async fn ends<T>(task: &tokio::task::JoinHandle<T>) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(task.is_finished(), "it is waited for");
    }

    /// A disk that does not answer: each call ends in time, and the connection is free when it answers.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_not_waited_for() {
        use std::sync::mpsc;

        use super::super::super::StoreErrorKind::{OutcomeUnknown, Unavailable};

        let path = std::env::temp_dir().join(format!("tower-oidc-hangs-{}.sqlite", std::process::id()));
        create(&path).unwrap();
        let connections = ConnectionPool::new(&path, &Secret::default(), 1);
        for reads in [false, true] {
            let (hangs, is_hanging) = tokio::sync::oneshot::channel();
            let (answer, answered) = mpsc::channel::<()>();
            let work = move |_: &mut Connection| {
                let _ = hangs.send(());
                let _ = answered.recv();
                Ok(())
            };
            let under_way = {
                let connections = Arc::clone(&connections);
                tokio::spawn(
                    async move { if reads { connections.read(work).await } else { connections.run(work).await } },
                )
            };
            is_hanging.await.unwrap();
            let waiting = {
                let connections = Arc::clone(&connections);
                tokio::spawn(async move { connections.run(|_| Ok(())).await })
            };
            tokio::task::yield_now().await;
            tokio::time::advance(TURN + Duration::from_millis(1)).await;
            ends(&waiting).await;
            assert_eq!(waiting.await.unwrap().unwrap_err().kind(), Unavailable, "it waits for its turn");
            assert!(!under_way.is_finished());
            tokio::time::advance(ANSWER - TURN).await;
            ends(&under_way).await;
            let kind = under_way.await.unwrap().unwrap_err().kind();
            assert_eq!(kind, if reads { Unavailable } else { OutcomeUnknown });
            drop(answer);
            connections.run(|_| Ok(())).await.expect("it works again");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
