//! Who in this process is told of changes: those who wait for a row, and those who listen to all of them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::{Sender, error::RecvError};

use super::{Change, Key, Store, StoreError, Version};

/// Who is further behind than this hears that anything may have changed.
const BACKLOG: usize = 1024;

#[derive(Default)]
pub(crate) struct Notifier {
    waiting: Mutex<HashMap<Key, Arc<Notify>>>,
    /// Made when somebody listens to all.
    told: OnceLock<Sender<Change>>,
}

impl Notifier {
    pub(crate) fn tell(&self, change: Change) {
        let waiting = self.waiting.lock();
        match change {
            Change::Row(key) => waiting.get(&key).into_iter().for_each(|row| row.notify_waiters()),
            Change::Any => waiting.values().for_each(|row| row.notify_waiters()),
        }
        // Where nobody listens nobody has to hear it.
        self.told.get().map(|told| told.send(change));
    }

    /// What [`Store::wait`] promises, for a store whose changes are told here. `elsewhere` ends when it is time to
    /// look again, because another process may have written.
    pub(super) async fn wait<F: Future<Output = ()> + Send>(
        &self, store: &impl Store, key: Key, after: Option<Version>, within: Duration,
        elsewhere: impl Fn() -> F + Send + Sync,
    ) -> Result<(), StoreError> {
        let changed = async {
            let waiter = self.register(key);
            loop {
                // Registered before the look: no write slips in between.
                let woken = waiter.changed.notified();
                if store.load(key).await?.map(|stored| stored.version) != after {
                    return Ok(());
                }
                tokio::select! {
                    () = woken => {}
                    () = elsewhere() => {}
                }
            }
        };
        tokio::time::timeout(within, changed).await.unwrap_or(Ok(()))
    }

    /// Tells `heard` what is told here from now on.
    pub(super) async fn relay(&self, heard: &(dyn Fn(Change) + Send + Sync)) -> Result<(), StoreError> {
        let mut told = self.told.get_or_init(|| Sender::new(BACKLOG)).subscribe();
        heard(Change::Any);
        loop {
            match told.recv().await {
                Ok(change) => heard(change),
                Err(RecvError::Lagged(_)) => heard(Change::Any),
                Err(closed @ RecvError::Closed) => {
                    return Err(StoreError::unavailable("it is closed", closed));
                }
            }
        }
    }

    pub(crate) fn register(&self, key: Key) -> Waiter<'_> {
        let row = Arc::clone(self.waiting.lock().entry(key).or_default());
        Waiter { changes: self, key, changed: row }
    }
}

/// One who waits for a change of a row, until this is dropped.
pub(crate) struct Waiter<'a> {
    changes: &'a Notifier,
    key: Key,
    pub(crate) changed: Arc<Notify>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.changes.waiting.lock();
        // Whoever leaves last, besides the map itself, takes the entry along.
        if Arc::strong_count(&self.changed) == 2 {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_remembered_who_left() {
        let changes = Notifier::default();
        let first = changes.register(Key([1; 32]));
        let second = changes.register(Key([1; 32]));
        drop(first);
        assert_eq!(changes.waiting.lock().len(), 1, "somebody is still there");
        drop(second);
        assert_eq!(changes.waiting.lock().len(), 0);
    }
    #[tokio::test]
    async fn nobody_is_remembered_who_stopped_waiting() {
        use std::task::{Context, Waker};

        let (changes, store) = (Notifier::default(), crate::store::MemoryStore::new());
        let long = Duration::from_secs(60);
        let mut waiting = Box::pin(changes.wait(&store, Key([1; 32]), None, long, std::future::pending));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(changes.waiting.lock().len(), 1);
        drop(waiting);
        assert_eq!(changes.waiting.lock().len(), 0);
    }
}
