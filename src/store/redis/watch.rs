//! Who waits for which row. The connection tells, and is told when it is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::store::Key;

/// How often a row is looked at while changes are told, and while they are not.
const TOLD: Duration = Duration::from_secs(1);
const UNTOLD: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Watch {
    waiting: Mutex<HashMap<Key, Arc<Notify>>>,
    told: AtomicBool,
}

/// Somebody who waits for one row. The last one to leave takes the row's entry along.
pub(super) struct Waiter<'a> {
    watch: &'a Watch,
    key: Key,
    notify: Arc<Notify>,
}

impl Watch {
    pub(super) fn waiter(&self, key: Key) -> Waiter<'_> {
        let notify = Arc::clone(self.waiting().entry(key).or_default());
        Waiter { watch: self, key, notify }
    }

    /// How long to wait for word before looking oneself.
    pub(super) fn patience(&self) -> Duration {
        if self.told.load(Ordering::Relaxed) { TOLD } else { UNTOLD }
    }

    /// A row was written or deleted.
    pub(super) fn wake(&self, key: &[u8]) {
        let Ok(key) = <[u8; 32]>::try_from(key) else { return };
        if let Some(notify) = self.waiting().get(&Key(key)) {
            notify.notify_waiters();
        }
    }

    /// The connection is new or lost: whatever changed meanwhile was not told.
    pub(super) fn wake_all(&self, told: bool) {
        self.told.store(told, Ordering::Relaxed);
        for notify in self.waiting().values() {
            notify.notify_waiters();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Completes with the next change after this call.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.watch.waiting();
        // Ours and the map's.
        if Arc::strong_count(&self.notify) == 2 {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_wakes_everybody_at_its_row_and_nobody_else() {
        let watch = Watch::default();
        let (ann, bob, eve) =
            (watch.waiter(Key([1; 32])), watch.waiter(Key([1; 32])), watch.waiter(Key([2; 32])));
        let (ann_hears, bob_hears, eve_hears) = (ann.changed(), bob.changed(), eve.changed());
        watch.wake(&[1; 32]);
        ann_hears.await;
        bob_hears.await;
        let nothing = tokio::time::timeout(Duration::from_millis(5), eve_hears).await;
        assert!(nothing.is_err(), "another row's change");
        let eve_hears = eve.changed();
        watch.wake_all(true);
        eve_hears.await;
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let watch = Watch::default();
        let (ann, bob) = (watch.waiter(Key([1; 32])), watch.waiter(Key([1; 32])));
        drop(ann);
        assert_eq!(watch.waiting().len(), 1);
        drop(bob);
        assert!(watch.waiting().is_empty());
    }
}
