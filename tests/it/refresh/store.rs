//! A store that fails, is slow, or answers late, as a test wants it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_oidc::Timestamp;
use tower_oidc::store::{BoxFuture, Key, Record, Store, StoreError, Stored, Tag, Version};

use crate::support::fault::Gate;
use crate::support::test_store::TestStore;

/// What a verb does.
#[derive(Clone, Default)]
pub(crate) enum Mode {
    #[default]
    Works,
    Fails,
    /// It writes, and then says that it failed, once.
    Lies,
    /// It never answers, and writes nothing.
    Hangs,
    /// It writes nothing, and never will.
    Refuses,
    /// It writes, and never answers, once.
    HangsAfter,
    Gate(Gate),
    /// Somebody else writes the same row a moment earlier, once.
    Overtaken,
    /// The same, and the answer is lost.
    OvertakenUnheard,
}

#[derive(Clone, Default)]
pub(crate) struct FaultyStore {
    pub(crate) inner: TestStore,
    loads: Arc<Mutex<Mode>>,
    swaps: Arc<Mutex<Mode>>,
    /// What happens to one call, and how many work before it.
    once: Arc<Mutex<Option<(usize, Mode)>>>,
    /// Every verb gives the others a turn first, so that each await is a place to be cancelled at.
    pub(crate) yields: bool,
}

impl FaultyStore {
    pub(crate) fn over(inner: TestStore) -> Self {
        Self { inner, ..Self::default() }
    }

    pub(crate) fn loads(&self, mode: Mode) {
        *self.loads.lock().unwrap() = mode;
    }

    pub(crate) fn swaps(&self, mode: Mode) {
        *self.swaps.lock().unwrap() = mode;
    }

    /// One call, after so many that work.
    pub(crate) fn once(&self, after: usize, mode: Mode) {
        *self.once.lock().unwrap() = Some((after, mode));
    }

    /// Whether that call has come.
    pub(crate) fn has_happened(&self) -> bool {
        self.once.lock().unwrap().is_none()
    }

    fn next_mode(&self, mode: &Mutex<Mode>) -> Mode {
        let mut once = self.once.lock().unwrap();
        match once.take() {
            Some((0, mode)) => return mode,
            Some((after, mode)) => *once = Some((after - 1, mode)),
            None => {}
        }
        let mut mode = mode.lock().unwrap();
        match &*mode {
            // Once.
            Mode::Lies | Mode::HangsAfter | Mode::Overtaken | Mode::OvertakenUnheard => std::mem::take(&mut *mode),
            lasting => lasting.clone(),
        }
    }

    async fn overtake(&self, key: Key) -> Result<(), StoreError> {
        let is_overtaken = matches!(*self.swaps.lock().unwrap(), Mode::Overtaken | Mode::OvertakenUnheard);
        if is_overtaken && let Some(Stored { version, record }) = self.inner.load(key).await? {
            self.inner.swap(key, Some(version), record).await?;
        }
        Ok(())
    }

    async fn run<T>(
        &self, mode: &Mutex<Mode>, work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.yields {
            tokio::task::yield_now().await;
        }
        let mode = self.next_mode(mode);
        let failed = StoreError::unavailable("a test wants it so", "on purpose");
        match mode {
            Mode::Works | Mode::Overtaken => work.await,
            Mode::Fails => Err(failed),
            Mode::Lies | Mode::OvertakenUnheard => {
                work.await.and(Err(StoreError::outcome_unknown("a test wants it so", "on purpose")))
            }
            Mode::Refuses => Err(StoreError::refused("a test wants it so")),
            Mode::Hangs => std::future::pending().await,
            Mode::HangsAfter => {
                work.await?;
                std::future::pending().await
            }
            Mode::Gate(gate) => {
                gate.wait().await;
                work.await
            }
        }
    }
}

impl Store for FaultyStore {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(self.run(&self.loads, self.inner.load(key)))
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        Box::pin(async move {
            self.overtake(key).await?;
            self.run(&self.swaps, self.inner.swap(key, expected, record)).await
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.overtake(key).await?;
            self.run(&self.swaps, self.inner.delete(key, expected)).await
        })
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        self.inner.find(tag)
    }

    fn delete_expired(&self, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.delete_expired(now)
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.wait(key, after, within)
    }
}
