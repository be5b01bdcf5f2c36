//! The store of a world: in memory, or in the database that `TOWER_OIDC_TEST_STORE` names.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tower_oidc::Timestamp;
use tower_oidc::store::{
    BoxFuture, Change, Key, MemoryStore, Record, Store, StoreError, Stored, Tag, Version,
};

use super::database::{Database, Kind, outside, runtime};
use super::net::lock;

/// For how long whoever waits for a row lets the world's clock stand still.
const GRACE: Duration = Duration::from_millis(300);

/// A store with nothing in it. Clones share their rows.
///
/// `TOWER_OIDC_TEST_STORE` says of which kind: `memory` (also without it), `sqlite`, `postgres` or `redis`. Calls to a
/// database run on another runtime, and the clock of a test that stands still goes on standing meanwhile.
#[derive(Clone)]
pub struct TestStore {
    rows: Rows,
    /// How often somebody began to wait for a row.
    waits: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Rows {
    Memory(MemoryStore),
    Database(Remote),
}

#[derive(Clone)]
struct Remote {
    store: Arc<dyn Store>,
    /// Every row that was ever written.
    written: Arc<Mutex<BTreeSet<Key>>>,
    database: Arc<Database>,
}

impl TestStore {
    pub fn new() -> Self {
        let kind = match std::env::var("TOWER_OIDC_TEST_STORE").as_deref() {
            Err(_) | Ok("" | "memory") => return Self::from(MemoryStore::new()),
            Ok("sqlite") => Kind::Sqlite,
            Ok("postgres") => Kind::Postgres,
            Ok("redis") => Kind::Redis,
            Ok(other) => panic!("TOWER_OIDC_TEST_STORE={other}: memory, sqlite, postgres or redis"),
        };
        let database = kind.database().unwrap_or_else(|| panic!("{kind:?} is not installed"));
        let _guard = runtime().enter();
        Self::of(Rows::Database(Remote {
            store: database.open(),
            written: Arc::default(),
            database: Arc::new(database),
        }))
    }

    fn of(rows: Rows) -> Self {
        Self { rows, waits: Arc::default() }
    }

    /// How often somebody began to wait for a row.
    pub fn waits(&self) -> usize {
        self.waits.load(Ordering::SeqCst)
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        match &self.rows {
            Rows::Memory(store) => store.len(),
            Rows::Database(remote) => {
                let (store, keys) = (Arc::clone(&remote.store), lock(&remote.written).clone());
                outside(async move {
                    let mut count = 0;
                    for key in keys {
                        count += u64::from(store.load(key).await.expect("the database answers").is_some());
                    }
                    count
                })
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<MemoryStore> for TestStore {
    fn from(store: MemoryStore) -> Self {
        Self::of(Rows::Memory(store))
    }
}

impl Default for TestStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rows {
            Rows::Memory(store) => store.fmt(f),
            Rows::Database(remote) => remote.database.fmt(f),
        }
    }
}

impl Remote {
    /// A paused clock does not go on by itself while a blocking task runs.
    async fn call<T, F>(
        &self,
        work: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>>,
    {
        let store = Arc::clone(&self.store);
        let called = tokio::task::spawn_blocking(move || runtime().block_on(work(store))).await;
        called.unwrap_or_else(|_| Err(StoreError::refused("the test is over")))
    }

    /// Waits in the database's time first, so that a write that is about to come is met with the clock at rest; then
    /// in the world's, so that one that never comes is waited for no longer than the world's clock says.
    async fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> Result<(), StoreError> {
        let waiting = async {
            let mut pause = GRACE;
            loop {
                self.call(move |store| async move { store.wait(key, after, GRACE).await }).await?;
                let now = self.call(move |store| async move { store.load(key).await }).await?;
                if now.map(|stored| stored.version) != after {
                    return Ok(());
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        };
        tokio::time::timeout(within, waiting).await.unwrap_or(Ok(()))
    }

    async fn listen(&self, heard: &(dyn Fn(Change) + Send + Sync)) -> Result<(), StoreError> {
        let (send, mut changes) = mpsc::unbounded_channel();
        let store = Arc::clone(&self.store);
        let _listening = Aborted(runtime().spawn(async move {
            let said = send.clone();
            let ended = store.listen(&move |change| _ = said.send(Ok(change))).await;
            let _ = send.send(Err(ended));
        }));
        loop {
            match changes.recv().await {
                Some(Ok(change)) => heard(change),
                Some(Err(ended)) => return ended,
                None => return Err(StoreError::refused("the test is over")),
            }
        }
    }
}

/// A task that ends with whoever waits for it.
struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Store for TestStore {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.load(key),
            Rows::Database(remote) => {
                Box::pin(remote.call(move |store| async move { store.load(key).await }))
            }
        }
    }

    fn swap(
        &self,
        key: Key,
        expected: Option<Version>,
        record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.swap(key, expected, record),
            Rows::Database(remote) => {
                lock(&remote.written).insert(key);
                Box::pin(remote.call(move |store| async move { store.swap(key, expected, record).await }))
            }
        }
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.delete(key, expected),
            Rows::Database(remote) => {
                Box::pin(remote.call(move |store| async move { store.delete(key, expected).await }))
            }
        }
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.find(tag),
            Rows::Database(remote) => {
                Box::pin(remote.call(move |store| async move { store.find(tag).await }))
            }
        }
    }

    fn delete_expired(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.delete_expired(now),
            Rows::Database(remote) => {
                Box::pin(remote.call(move |store| async move { store.delete_expired(now).await }))
            }
        }
    }

    fn is_durable(&self) -> bool {
        match &self.rows {
            Rows::Memory(store) => store.is_durable(),
            Rows::Database(remote) => remote.store.is_durable(),
        }
    }

    fn wait(
        &self,
        key: Key,
        after: Option<Version>,
        within: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        match &self.rows {
            Rows::Memory(store) => store.wait(key, after, within),
            Rows::Database(remote) => Box::pin(remote.wait(key, after, within)),
        }
    }

    fn listen<'a>(
        &'a self,
        heard: &'a (dyn Fn(Change) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.listen(heard),
            Rows::Database(remote) => Box::pin(remote.listen(heard)),
        }
    }
}
