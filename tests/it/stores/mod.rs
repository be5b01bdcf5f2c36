//! Every store of the crate under the contract's suite, and what is particular to each.

mod faults;
mod pooler;
mod postgres;
mod redis;
mod sqlite;
mod tls;
mod two_processes;

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_oidc::Timestamp;
use tower_oidc::store::{BoxFuture, Key, MemoryStore, Record, Store, StoreError, Stored, Tag, Version};

use crate::support::store_contract;

#[tokio::test]
async fn memory_keeps_the_contract() {
    store_contract::check(Arc::new(MemoryStore::new())).await;
    let one = MemoryStore::new();
    store_contract::check_two(Arc::new(one.clone()), Arc::new(one)).await;
}

/// Everything that an error says, its sources included.
fn said(error: &StoreError) -> String {
    let mut said = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        said += &format!(" {error} {error:?}");
        source = error.source();
    }
    said
}

/// A store that loses one of its ten connections with each call of this kind that is dropped.
struct Leaking {
    rows: MemoryStore,
    connections: tokio::sync::Semaphore,
    at: &'static str,
}

impl Leaking {
    async fn with_connection<T>(
        &self, verb: &str, call: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let connection = self.connections.acquire().await.expect("it is open");
        if verb != self.at {
            tokio::task::yield_now().await;
            return call.await;
        }
        connection.forget();
        tokio::task::yield_now().await;
        let answer = call.await;
        self.connections.add_permits(1);
        answer
    }
}

impl Store for Leaking {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(self.with_connection("load", self.rows.load(key)))
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        self.rows.swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.rows.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        Box::pin(self.with_connection("find", self.rows.find(tag)))
    }

    fn delete_expired(&self, older_than: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.with_connection("delete_expired", self.rows.delete_expired(older_than)))
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.with_connection("wait", self.rows.wait(key, after, within)))
    }
}

/// The suite notices what a dropped call keeps.
#[tokio::test(start_paused = true)]
async fn a_store_that_loses_what_a_dropped_call_held_fails_the_suite() {
    for at in ["none", "load", "find", "wait", "delete_expired"] {
        let connections = tokio::sync::Semaphore::new(10);
        let store = Arc::new(Leaking { rows: MemoryStore::new(), connections, at });
        let checked = tokio::spawn(store_contract::check(store)).await;
        let failed = checked.map_err(|error| *error.into_panic().downcast::<String>().expect("a text"));
        match (at, failed) {
            ("none", checked) => checked.expect("the control"),
            (_, failed) => {
                let why = failed.expect_err(at);
                assert!(why.contains("do not keep others waiting"), "{at}: {why}");
            }
        }
    }
}

fn record(contents: &str) -> Record {
    Record { bytes: contents.to_owned().into(), expires_at: Timestamp::from_secs(4_000_000_000), tags: Vec::new() }
}

async fn create(store: &impl Store, key: Key) -> Version {
    let version = store.swap(key, None, record("new")).await.expect("a store that works");
    version.expect("a row that is absent")
}

/// More rows than one batch collects, of which every other one expires.
async fn collecting_leaves_nothing_and_nobody_behind<S: Store>(store: Arc<S>) {
    const ROWS: u32 = 2_400;
    /// The longest that a store keeps what has expired.
    const MONTH: u64 = 30 * 24 * 60 * 60;
    let key = |row: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&row.to_be_bytes());
        Key(key)
    };
    let mut filling = Vec::new();
    for worker in 0..8 {
        let store = Arc::clone(&store);
        filling.push(tokio::spawn(async move {
            for row in (0..ROWS).filter(|row| row % 8 == worker) {
                let expires_at = Timestamp::from_secs(if row % 2 == 0 { 1_000 } else { 2_000 + MONTH });
                let tags = vec![Tag([8; 32])];
                let record = Record { expires_at, tags, ..record("a record") };
                store.swap(key(row), None, record).await.expect("it works").expect("absent");
            }
        }));
    }
    for worker in filling {
        worker.await.unwrap();
    }
    let collect = |now| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.delete_expired(Timestamp::from_secs(now + MONTH)).await.expect("it works") })
    };
    let mut collected = 0;
    for collector in [collect(1_500), collect(1_500), collect(1_500)] {
        collected += collector.await.unwrap();
    }
    assert_eq!(collected, u64::from(ROWS / 2), "each row is counted once, whoever collects");
    assert_eq!(store.find(Tag([8; 32])).await.unwrap().len(), 1_200, "what is alive stays");
    assert_eq!(collect(2_000 + MONTH).await.unwrap(), u64::from(ROWS / 2));
}

/// A caller's clock may be wrong. What has not expired by the server's stays.
async fn a_callers_clock_deletes_nothing_that_lasts(store: impl Store) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (hour, days) = (60 * 60, 8 * 24 * 60 * 60);
    for (name, expires_at) in [(1, now - hour), (2, now + hour)] {
        let record = Record { expires_at: Timestamp::from_secs(expires_at), ..record("a record") };
        store.swap(Key([name; 32]), None, record).await.unwrap().expect("a new row");
    }
    assert_eq!(store.delete_expired(Timestamp::from_secs(now - days)).await.unwrap(), 0, "behind");
    assert_eq!(store.delete_expired(Timestamp::from_secs(now + days)).await.unwrap(), 1, "ahead");
    assert!(store.load(Key([1; 32])).await.unwrap().is_none(), "what has expired by both clocks is gone");
    assert!(store.load(Key([2; 32])).await.unwrap().is_some(), "what has expired by one of them is not");
}
