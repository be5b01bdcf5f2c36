//! A store that watches, and breaks when told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_oidc::Timestamp;
use tower_oidc::store::{BoxFuture, Change, Key, Record, Store, StoreError, StoreFuture, Stored, Tag, Version};

use super::fault::Gate;
use super::net::lock;
use super::test_store::TestStore;

/// A [`TestStore`] with somebody in between. Clones are the same one.
#[derive(Clone)]
pub struct WatchedStore {
    pub rows: TestStore,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Every row that was written.
    written: BTreeSet<Key>,
    troubles: Vec<(Verb, Trouble)>,
    writes: usize,
    loads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Load,
    Swap,
    Delete,
    /// What is under way is not troubled, what begins is.
    Listen,
}

#[derive(Clone, Debug)]
pub enum Trouble {
    /// Every call fails; nothing is done.
    Fail,
    /// The next call fails; nothing is done.
    FailOnce,
    /// No call ever returns; nothing is done.
    Hang,
    /// Every call does its work, and its answer is lost.
    LoseAnswer,
    /// The next call does its work; its answer waits at the gate.
    GateAnswer(Gate),
}

impl WatchedStore {
    pub fn new(rows: impl Into<TestStore>) -> Self {
        Self { rows: rows.into(), state: Arc::default() }
    }

    pub fn trouble(&self, verb: Verb, trouble: Trouble) {
        lock(&self.state).troubles.push((verb, trouble));
    }

    /// Every verb at once.
    pub fn break_down(&self, trouble: &Trouble) {
        for verb in [Verb::Load, Verb::Swap, Verb::Delete] {
            self.trouble(verb, trouble.clone());
        }
    }

    pub fn heal(&self) {
        lock(&self.state).troubles.clear();
    }

    /// How many writes and deletions were asked for.
    pub fn writes(&self) -> usize {
        lock(&self.state).writes
    }

    /// How often somebody asked what lies in a row.
    pub fn loads(&self) -> usize {
        lock(&self.state).loads
    }

    /// The rows written through here, with what lies in them now.
    pub async fn dump(&self) -> Vec<(Key, Stored)> {
        let keys = lock(&self.state).written.clone();
        let mut rows = Vec::new();
        for key in keys {
            if let Some(stored) = self.rows.load(key).await.expect("memory answers") {
                rows.push((key, stored));
            }
        }
        rows
    }

    /// Puts a record into a row, whatever lies there: what somebody does who can write to the database.
    pub async fn plant(&self, key: Key, record: Record) {
        let version = self.rows.load(key).await.expect("memory answers").map(|stored| stored.version);
        let planted = self.rows.swap(key, version, record).await.expect("memory answers");
        assert!(planted.is_some(), "nobody else writes");
    }

    async fn meet<T>(&self, verb: Verb, call: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        let trouble = {
            let mut state = lock(&self.state);
            state.writes += usize::from(matches!(verb, Verb::Swap | Verb::Delete));
            state.loads += usize::from(verb == Verb::Load);
            let at = state.troubles.iter().position(|(at, _)| *at == verb);
            at.map(|at| match &state.troubles[at].1 {
                Trouble::GateAnswer(_) | Trouble::FailOnce => state.troubles.remove(at).1,
                lasting => lasting.clone(),
            })
        };
        match trouble {
            None => call.await,
            Some(Trouble::Fail | Trouble::FailOnce) => Err(StoreError::unavailable("the test broke it", "on purpose")),
            Some(Trouble::LoseAnswer) => {
                call.await.and(Err(StoreError::outcome_unknown("the test broke it", "on purpose")))
            }
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::GateAnswer(gate)) => {
                let answer = call.await;
                gate.wait().await;
                answer
            }
        }
    }
}

impl Store for WatchedStore {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(self.meet(Verb::Load, self.rows.load(key)))
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        lock(&self.state).written.insert(key);
        Box::pin(self.meet(Verb::Swap, self.rows.swap(key, expected, record)))
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.meet(Verb::Delete, self.rows.delete(key, expected)))
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        self.rows.find(tag)
    }

    fn delete_expired(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.rows.delete_expired(now)
    }

    fn is_durable(&self) -> bool {
        self.rows.is_durable()
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.rows.wait(key, after, within)
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.meet(Verb::Listen, self.rows.subscribe(heard)))
    }
}

/// A store in memory that stands for one which several processes share: it says that it outlives them.
pub struct Shared<S>(pub S);

impl<S: Store> Store for Shared<S> {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        self.0.load(key)
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        self.0.swap(key, expected, record)
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        self.0.delete(key, expected)
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        self.0.find(tag)
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        self.0.delete_expired(older_than)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        self.0.wait(key, after, within)
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        self.0.subscribe(heard)
    }
}
