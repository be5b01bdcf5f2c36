//! The refreshes under way in this process: at most one for each grant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock::Timestamp;
use crate::error::RetryLater;
use crate::events::metrics;
use crate::records::Grant;
use crate::store::Key;

/// After a failure that passes, a grant's provider is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// The most pauses that are remembered.
const MOST_PAUSES: u64 = 10_000;
/// So many refreshes read and lease their grants at once. The others wait in line: a store that is given more than it
/// carries answers nobody in time.
const TURNS: usize = 32;

/// The name of the gauge of refreshes under way.
const UNDER_WAY: &str = "tower_oidc_refreshes_under_way";

/// The refreshes under way, and the grants whose next refresh must wait. No call does work that grows with their number.
pub(crate) struct InFlight {
    under_way: Mutex<HashMap<Key, RefreshReceiver>>,
    /// Grants whose provider failed a moment ago, until when and how; of some only what was asked for one resource.
    pauses: Cache<(Key, Option<String>), (Timestamp, RefreshOutcome)>,
    turns: Arc<Semaphore>,
}

/// Receives the outcome of a refresh that is under way.
pub(crate) type RefreshReceiver = watch::Receiver<Option<RefreshOutcome>>;

/// Sends the outcome of a refresh to those who wait for it.
pub(crate) type RefreshSender = watch::Sender<Option<RefreshOutcome>>;

/// The outcome of a refresh, for each request that waited.
#[derive(Clone)]
pub(crate) enum RefreshOutcome {
    /// There is a grant to look at.
    Grant(Arc<Grant>),
    /// Somebody must grant (again).
    Consent,
    /// The provider refused the application or what it asked for, and not the grant. Where it was about one resource
    /// indicator, that says nothing about others.
    Refused { only: Option<String>, reason: Arc<str> },
    /// There is no token now, and there may be one later.
    Unavailable(RetryLater),
}

/// What a request that needs a refresh does.
pub(crate) enum Join {
    /// Wait for the outcome of the refresh that is under way. That of one which failed less than `PAUSE` ago is there already.
    Follow(RefreshReceiver),
    /// None is under way: the caller refreshes, and sends the outcome.
    Lead(RefreshSender, RefreshReceiver),
}

impl InFlight {
    pub(crate) fn new() -> Self {
        let (pauses, turns) = (Cache::new(MOST_PAUSES), Arc::new(Semaphore::new(TURNS)));
        Self { under_way: Mutex::default(), pauses, turns }
    }

    pub(crate) fn join(&self, key: Key, indicator: Option<&str>, now: Timestamp) -> Join {
        let mut under_way = self.under_way.lock();
        // One whose task ended with its runtime begins again.
        if let Some(receiver) = under_way.get(&key).filter(|receiver| receiver.has_changed().is_ok()) {
            return Join::Follow(receiver.clone());
        }
        let paused = |asked: Option<&str>| {
            let (until, outcome) = self.pauses.get(&(key, asked.map(str::to_owned)))?;
            // One that is longer than any was set by a clock that has been put back.
            (now < until && until.duration_since(now) <= PAUSE).then_some(outcome)
        };
        if let Some(outcome) = paused(None).or_else(|| paused(indicator)) {
            return Join::Follow(watch::channel(Some(outcome)).1);
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(key, receiver.clone());
        metrics::level(UNDER_WAY, || under_way.len());
        Join::Lead(sender, receiver)
    }

    /// A turn at the store, for a refresh whose outcome goes to `sender`. `None`: it stood in line until nobody waited for it
    /// any more, and is off the list.
    pub(crate) async fn turn(&self, key: Key, sender: &RefreshSender) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Some(turn);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        // Whoever joins has the lock. One receiver is the list's own.
        let under_way = self.under_way.lock();
        if sender.receiver_count() > 1 {
            return Some(turn);
        }
        remove(under_way, key);
        None
    }

    /// Requests within the next `PAUSE` get this outcome without a refresh, or until it says that one may work.
    pub(crate) fn pause(&self, key: Key, outcome: RefreshOutcome, now: Timestamp) {
        let (only, pause) = match &outcome {
            RefreshOutcome::Refused { only, .. } => (only.clone(), PAUSE),
            RefreshOutcome::Unavailable(later) => (None, later.within(PAUSE)),
            RefreshOutcome::Grant(_) | RefreshOutcome::Consent => (None, PAUSE),
        };
        self.pauses.insert((key, only), (now.saturating_add(pause), outcome));
    }

    /// Takes the refresh off the list: later requests start from the store.
    pub(crate) fn leave(&self, key: Key) {
        remove(self.under_way.lock(), key);
    }
}

fn remove(mut under_way: MutexGuard<'_, HashMap<Key, RefreshReceiver>>, key: Key) {
    under_way.remove(&key);
    metrics::level(UNDER_WAY, || under_way.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key(number: u64) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Key(key)
    }

    fn failed() -> RefreshOutcome {
        RefreshOutcome::Unavailable(RetryLater::new("it is away", Duration::ZERO))
    }

    /// As many refreshes begin and end beside few pauses as beside many, and take about as long.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is looked at")]
    fn to_join_costs_the_same_however_many_others_pause() {
        let [few, many] = [10, 100_000].map(|pauses| {
            let in_flight = InFlight::new();
            (0..pauses).for_each(|number| in_flight.pause(key(number), failed(), NOW));
            let began = Instant::now();
            for number in 1_000_000..1_002_000 {
                assert!(matches!(in_flight.join(key(number), None, NOW), Join::Lead(..)));
                in_flight.leave(key(number));
            }
            began.elapsed()
        });
        assert!(many < 50 * few.max(Duration::from_millis(5)), "{few:?} and {many:?}");
    }

    /// The control: a pause holds its own grant back, or one resource of it, and ends.
    #[test]
    fn a_pause_is_of_its_grant_alone_and_ends() {
        let in_flight = InFlight::new();
        let joins = |number: u64, indicator, now| match in_flight.join(key(number), indicator, now) {
            Join::Follow(_) => false,
            Join::Lead(..) => {
                in_flight.leave(key(number));
                true
            }
        };
        in_flight.pause(key(1), failed(), NOW);
        let only = RefreshOutcome::Refused { only: Some("a".to_owned()), reason: "no".into() };
        in_flight.pause(key(2), only, NOW);
        let last = NOW.saturating_add(Duration::from_millis(999));
        for (number, indicator, now, expected) in [
            (1, None, NOW, false),
            (1, Some("a"), last, false),
            (1, None, NOW.saturating_add(PAUSE), true),
            // The clock is put back.
            (1, None, Timestamp::from_secs(1_799_999_000), true),
            (2, Some("a"), last, false),
            (2, Some("b"), NOW, true),
            (2, None, NOW, true),
            (3, None, NOW, true),
        ] {
            assert_eq!(joins(number, indicator, now), expected, "{number} {indicator:?} {now:?}");
        }
    }

    fn lead(in_flight: &InFlight, number: u64) -> (RefreshSender, RefreshReceiver) {
        match in_flight.join(key(number), None, NOW) {
            Join::Lead(sender, receiver) => (sender, receiver),
            Join::Follow(_) => panic!("{number} is not under way"),
        }
    }

    fn follows(in_flight: &InFlight, number: u64) -> bool {
        matches!(in_flight.join(key(number), None, NOW), Join::Follow(_))
    }

    #[tokio::test]
    async fn as_many_as_the_store_carries_begin_and_what_nobody_waits_for_is_not_begun() {
        let in_flight = Arc::new(InFlight::new());
        let mut turns = Vec::new();
        for number in 0..TURNS as u64 {
            // In the background, so that nobody waits: there is no line.
            let (sender, _) = lead(&in_flight, number);
            turns.push((in_flight.turn(key(number), &sender).await.unwrap(), sender));
        }
        let mut line: Vec<_> = (100..103)
            .map(|number| {
                let (sender, receiver) = lead(&in_flight, number);
                let in_flight = Arc::clone(&in_flight);
                let turn = tokio::spawn(async move { in_flight.turn(key(number), &sender).await.is_some() });
                (turn, Some(receiver))
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(line.iter().all(|(turn, _)| !turn.is_finished()), "they stand in line");
        // The first is given up; of the second the one who began it, while another one waits.
        let Join::Follow(another) = in_flight.join(key(101), None, NOW) else { panic!("it is under way") };
        (line[0].1, line[1].1) = (None, Some(another));
        turns.truncate(TURNS - 3);
        for ((turn, receiver), begins) in line.into_iter().zip([false, true, true]) {
            assert_eq!(turn.await.unwrap(), begins);
            drop(receiver);
        }
        assert!(!follows(&in_flight, 100), "whoever comes now begins it");
    }

    /// A task that ended with its runtime, or panicked, has left its sender behind.
    #[test]
    fn a_refresh_whose_task_is_gone_begins_again() {
        let in_flight = InFlight::new();
        let (sender, receiver) = lead(&in_flight, 1);
        assert!(follows(&in_flight, 1));
        drop(sender);
        assert!(!follows(&in_flight, 1));
        drop(receiver);
    }
}
