//! The store of a world: in memory, or in the database that `TOWER_OIDC_TEST_STORE` names.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tower_oidc::store::{BoxFuture, Change, Key, MemoryStore, Record, Store, StoreError, Stored, Tag, Version};
use tower_oidc::{Clock, Timestamp};

use super::clock::TestClock;
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
    store: Handle,
    /// Every row that was ever written.
    written: Arc<Mutex<BTreeSet<Key>>>,
    database: Arc<Database>,
    listeners: Arc<Listeners>,
    /// Whether there is another process with the same clock, as a file needs one before it forgets at once.
    others_agree: bool,
}

/// Who listens, and how far they have come: the last mark that was passed on to them, 0 before any, and nothing where
/// they have not been told of anything. Marks are rows that [`TestStore::told`] writes.
#[derive(Default)]
struct Listeners {
    heard: watch::Sender<BTreeMap<u64, Option<u64>>>,
    numbers: AtomicU64,
}

/// One who listens, until this is dropped.
struct Listener<'a>(&'a Listeners, u64);

/// What a test has opened is closed when its thread ends: worlds hold themselves in circles, and databases have only
/// so many connections.
type Handle = Arc<Mutex<Option<Arc<dyn Store>>>>;

thread_local! {
    static OPENED: RefCell<Opened> = RefCell::default();
}

/// The stores that this thread has opened, and the databases that were made for them.
#[derive(Default)]
struct Opened(Vec<Handle>, Vec<Arc<Database>>);

impl Drop for Opened {
    fn drop(&mut self) {
        for handle in &self.0 {
            lock(handle).take();
        }
        for database in &self.1 {
            database.give_back();
        }
    }
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
        let database = Arc::new(kind.database().unwrap_or_else(|| panic!("{kind:?} is not installed")));
        OPENED.with_borrow_mut(|opened| opened.1.push(Arc::clone(&database)));
        Self::on_shared(database)
    }

    /// One in this database.
    pub fn on(database: Database) -> Self {
        Self::on_shared(Arc::new(database))
    }

    fn on_shared(database: Arc<Database>) -> Self {
        let opened = Self::opened(database, Arc::default());
        opened.connect();
        opened
    }

    /// A server that makes one database after another may take seconds for its first answer: no test's deadline runs by then.
    fn connect(&self) {
        if let Rows::Database(remote) = &self.rows {
            let store = remote.open();
            outside(async move {
                for _ in 0..10 {
                    if store.load(Key([0; 32])).await.is_ok() {
                        break;
                    }
                }
            });
        }
    }

    /// The same rows, as a process sees them that was started now.
    pub fn reopened(&self) -> Self {
        match &self.rows {
            Rows::Memory(_) => panic!("a process's memory ends with it"),
            Rows::Database(remote) => Self::opened(Arc::clone(&remote.database), Arc::clone(&remote.written)),
        }
    }

    /// The same rows, as a process sees them whose clock this is. Memory is shared by what stands for processes.
    pub fn seen_with(&self, clock: &TestClock) -> Self {
        match &self.rows {
            Rows::Memory(_) => self.clone(),
            Rows::Database(remote) => {
                let store = remote.database.open_with(clock.readings());
                let opened = Self::holding(store, Arc::clone(&remote.database), Arc::clone(&remote.written));
                let Rows::Database(remote) = opened.rows else { unreachable!("it is a database") };
                Self::of(Rows::Database(Remote { others_agree: false, ..remote }))
            }
        }
    }

    pub fn database(&self) -> Arc<Database> {
        match &self.rows {
            Rows::Memory(_) => panic!("memory is no database"),
            Rows::Database(remote) => Arc::clone(&remote.database),
        }
    }

    fn opened(database: Arc<Database>, written: Arc<Mutex<BTreeSet<Key>>>) -> Self {
        let _guard = runtime().enter();
        let store = database.open();
        Self::holding(store, database, written)
    }

    fn holding(store: Arc<dyn Store>, database: Arc<Database>, written: Arc<Mutex<BTreeSet<Key>>>) -> Self {
        let store: Handle = Arc::new(Mutex::new(Some(store)));
        OPENED.with_borrow_mut(|opened| opened.0.push(Arc::clone(&store)));
        let listeners = Arc::default();
        Self::of(Rows::Database(Remote { store, written, database, listeners, others_agree: true }))
    }

    fn of(rows: Rows) -> Self {
        Self { rows, waits: Arc::default() }
    }

    /// How often somebody began to wait for a row.
    pub fn waits(&self) -> usize {
        self.waits.load(Ordering::SeqCst)
    }

    /// Returns when whoever listens has been told of everything that was written until now.
    pub async fn told(&self) {
        if let Rows::Database(remote) = &self.rows {
            let listeners = Arc::clone(&remote.listeners);
            let told = remote.call(|store| async move { told(&*store, &listeners).await });
            told.await.expect("the database answers");
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        match &self.rows {
            Rows::Memory(store) => store.len(),
            Rows::Database(remote) => {
                let (store, keys) = (remote.open(), lock(&remote.written).clone());
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
    fn open(&self) -> Arc<dyn Store> {
        lock(&self.store).clone().expect("the test is under way")
    }

    /// A paused clock does not go on by itself while a blocking task runs.
    async fn call<T, F>(&self, work: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>>,
    {
        let Some(store) = lock(&self.store).clone() else { return Err(over()) };
        let called = tokio::task::spawn_blocking(move || runtime().block_on(work(store))).await;
        called.unwrap_or_else(|_| Err(over()))
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

    async fn subscribe(&self, heard: &(dyn Fn(Change) + Send + Sync)) -> Result<(), StoreError> {
        let (send, mut changes) = mpsc::unbounded_channel();
        let Some(store) = lock(&self.store).clone() else { return Err(over()) };
        let _listening = Aborted(runtime().spawn(async move {
            let said = send.clone();
            let ended = store.subscribe(&move |change| _ = said.send(Ok(change))).await;
            let _ = send.send(Err(ended));
        }));
        let listener = Listener::new(&self.listeners);
        loop {
            match changes.recv().await {
                Some(Ok(change)) => {
                    heard(change);
                    listener.has_heard(change);
                }
                Some(Err(ended)) => return ended,
                None => return Err(over()),
            }
        }
    }
}

fn over() -> StoreError {
    StoreError::unavailable("the test is over", "its thread ended")
}

impl Listeners {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl<'a> Listener<'a> {
    fn new(listeners: &'a Listeners) -> Self {
        let listener = Self(listeners, listeners.number());
        listeners.heard.send_modify(|heard| _ = heard.insert(listener.1, None));
        listener
    }

    fn has_heard(&self, change: Change) {
        let mark = match change {
            Change::Row(Key(row)) if row[8..] == MARK => row.first_chunk().map(|mark| u64::from_be_bytes(*mark)),
            _ => None,
        };
        let mark = Some(mark.unwrap_or(0));
        self.0.heard.send_modify(|heard| {
            let last = heard.entry(self.1).or_default();
            *last = mark.max(*last);
        });
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.0.heard.send_modify(|heard| _ = heard.remove(&self.1));
    }
}

/// How the name of a mark ends, after its number.
const MARK: [u8; 24] = [0xee; 24];

/// A row that stands for what another process writes.
const MARK_OF_ANOTHER: [u8; 32] = [0xdd; 32];

/// Writes a row and deletes it again.
async fn touch(store: &dyn Store, row: Key) -> Result<(), StoreError> {
    let expires_at = Timestamp::from_secs(4_000_000_000);
    store.swap(row, None, Record { bytes: Default::default(), expires_at, tags: Vec::new() }).await?;
    store.delete(row, None).await.map(drop)
}

/// Changes are told in their order: what was written before this row of its own is told before it. Who has not been
/// told of anything yet is told first that anything may have changed, which is as good.
async fn told(store: &dyn Store, listeners: &Listeners) -> Result<(), StoreError> {
    let number = listeners.number();
    let mut name = [0xee; 32];
    name[..8].copy_from_slice(&number.to_be_bytes());
    let mark = Key(name);
    let due: Vec<_> = listeners.heard.borrow().iter().map(|(id, last)| (*id, last.map_or(0, |_| number))).collect();
    let (send, mut heard) = mpsc::unbounded_channel();
    let tell = move |change| _ = send.send(change);
    let listening = store.subscribe(&tell);
    let marking = async {
        heard.recv().await;
        let expires_at = Timestamp::from_secs(4_000_000_000);
        let record = Record { bytes: Default::default(), expires_at, tags: Vec::new() };
        store.swap(mark, None, record).await?;
        while heard.recv().await.is_some_and(|change| change != Change::Row(mark)) {}
        store.delete(mark, None).await?;
        let mut others = listeners.heard.subscribe();
        let passed_on =
            others.wait_for(|heard| due.iter().all(|(id, due)| heard.get(id).is_none_or(|last| *last >= Some(*due))));
        // Where much is told at once, a mark may be told as "anything".
        let _ = tokio::time::timeout(Duration::from_secs(5), passed_on).await;
        Ok(())
    };
    tokio::select! {
        ended = listening => ended,
        marked = marking => marked,
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
            Rows::Database(remote) => Box::pin(remote.call(move |store| async move { store.load(key).await })),
        }
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
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
            Rows::Database(remote) => Box::pin(remote.call(move |store| async move { store.find(tag).await })),
        }
    }

    fn delete_expired(&self, older_than: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.delete_expired(older_than),
            Rows::Database(remote) => {
                let other = remote.others_agree && remote.database.kind == Kind::Sqlite;
                let other = other.then(|| remote.database.open_with(Clock::from_fn(move || older_than)));
                Box::pin(remote.call(move |store| async move {
                    if let Some(other) = other {
                        touch(&*other, Key(MARK_OF_ANOTHER)).await?;
                    }
                    store.delete_expired(older_than).await
                }))
            }
        }
    }

    fn is_durable(&self) -> bool {
        match &self.rows {
            Rows::Memory(store) => store.is_durable(),
            Rows::Database(_) => true,
        }
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        match &self.rows {
            Rows::Memory(store) => store.wait(key, after, within),
            Rows::Database(remote) => Box::pin(remote.wait(key, after, within)),
        }
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> BoxFuture<'a, Result<(), StoreError>> {
        match &self.rows {
            Rows::Memory(store) => store.subscribe(heard),
            Rows::Database(remote) => Box::pin(remote.subscribe(heard)),
        }
    }
}
