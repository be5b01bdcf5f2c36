//! Who waits for which row, and who listens to all. The connection tells them, and says when it is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::sync::futures::Notified;

use crate::store::Key;

/// How often a row is looked at while changes are heard, and while they are not.
const HEARING: Duration = Duration::from_secs(1);
const DEAF: Duration = Duration::from_millis(100);

/// Whoever listens and is this far behind is told that it missed something.
const BACKLOG: usize = 1024;

pub(super) struct Watch {
    waiting: Mutex<HashMap<Key, Arc<Notify>>>,
    hearing: Mutex<Hearing>,
    words: Sender<Word>,
}

/// What comes from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Nothing: there is no connection.
    Away,
    /// Nothing: this user may not.
    Refused,
    /// Every change.
    Changes,
}

/// What whoever listens is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// This row was written or deleted.
    Row(Key),
    /// What is heard is another from now on.
    Now(Hearing),
}

/// Somebody who waits for one row. The last one to leave takes the row's entry along.
pub(super) struct Waiter<'a> {
    watch: &'a Watch,
    key: Key,
    notify: Arc<Notify>,
}

impl Default for Watch {
    fn default() -> Self {
        let words = broadcast::channel(BACKLOG).0;
        Self { waiting: Mutex::default(), hearing: Mutex::new(Hearing::Away), words }
    }
}

impl Watch {
    pub(super) fn waiter(&self, key: Key) -> Waiter<'_> {
        let notify = Arc::clone(self.waiting().entry(key).or_default());
        Waiter { watch: self, key, notify }
    }

    /// What is told from now on.
    pub(super) fn words(&self) -> Receiver<Word> {
        self.words.subscribe()
    }

    pub(super) fn hearing(&self) -> Hearing {
        *self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait for word before looking oneself.
    pub(super) fn patience(&self) -> Duration {
        if self.hearing() == Hearing::Changes { HEARING } else { DEAF }
    }

    /// A row was written or deleted.
    pub(super) fn changed(&self, key: &[u8]) {
        let Ok(key) = <[u8; 32]>::try_from(key).map(Key) else { return };
        if let Some(notify) = self.waiting().get(&key) {
            notify.notify_waiters();
        }
        // Where nobody listens nobody has to hear it.
        let _ = self.words.send(Word::Row(key));
    }

    /// The connection is new or lost: whatever changed meanwhile was not told.
    pub(super) fn turned(&self, hearing: Hearing) {
        *self.hearing.lock().unwrap_or_else(PoisonError::into_inner) = hearing;
        for notify in self.waiting().values() {
            notify.notify_waiters();
        }
        let _ = self.words.send(Word::Now(hearing));
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
        watch.changed(&[1; 32]);
        ann_hears.await;
        bob_hears.await;
        let nothing = tokio::time::timeout(Duration::from_millis(5), eve_hears).await;
        assert!(nothing.is_err(), "another row's change");
        let eve_hears = eve.changed();
        watch.turned(Hearing::Changes);
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
