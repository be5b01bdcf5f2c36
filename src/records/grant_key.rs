//! Where grants lie, worked out once for a session: names are keyed hashes, and a request is not the place for those.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::grant::{Grant, Owner};
use super::invalidation::{Invalidations, Slot};
use super::{BlindIndexKey, CookieBinding, RecordKey};
use crate::clock::{ClockReading, Timestamp};
use crate::provider::ProviderId;
use crate::store::Key;

/// A grant's row, and whose it must be.
#[derive(Debug)]
pub(crate) struct GrantKey {
    pub(crate) row: RecordKey,
    pub(crate) owner: Owner,
    pub(crate) client: [u8; 32],
    pub(crate) provider: ProviderId,
    pub(crate) connection: String,
    /// The session whose login alone yielded it.
    pub(crate) session: Option<Key>,
    /// Its cookies, where browsers carry their grants.
    pub(crate) cookies: OnceLock<CookieBinding>,
    pub(crate) newest: NewestGeneration,
}

impl GrantKey {
    /// The seal is bound to owner and client; this is the same wall in the contents.
    pub(crate) fn holds(&self, grant: &Grant) -> bool {
        grant.owner == self.owner && grant.client == self.client
    }

    /// For its refreshes not to fall together with everybody else's.
    pub(crate) fn spread(&self) -> u8 {
        self.row.key.0[1]
    }
}

/// What was read of a row that lies beside what browsers carry, for as long as it may be believed.
#[derive(Debug, Default)]
pub(crate) struct NewestGeneration(Mutex<Option<Observed<u64>>>);

/// What the store said, and how long it is believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed<T> {
    pub(crate) value: T,
    pub(crate) asked: ObservedAt,
    /// For how long it may be believed, and until when there is nothing to do about the row.
    pub(crate) limit: Duration,
    pub(crate) until: Timestamp,
}

impl<T> Observed<T> {
    /// Whether it may be believed without asking again: `place` is its row's.
    pub(crate) fn is_believed(&self, place: Slot, invalidations: &Invalidations, now: ClockReading) -> bool {
        now.wall < self.until
            && now.believes(self.asked.at, self.limit)
            && !invalidations.changed_since(self.asked.heard, place)
    }
}

/// When the store was asked: an answer is as old as its question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObservedAt {
    pub(crate) at: ClockReading,
    /// What was known of changes.
    pub(crate) heard: u64,
}

impl NewestGeneration {
    /// There was nothing newer than this.
    pub(crate) fn put(&self, read: Observed<u64>) {
        *self.0.lock() = Some(read);
    }

    /// The generation; `None` where the store must be asked.
    pub(crate) fn generation(&self, place: Slot, invalidations: &Invalidations, now: ClockReading) -> Option<u64> {
        let read = (*self.0.lock())?;
        read.is_believed(place, invalidations, now).then_some(read.value)
    }

    /// This generation was found: a process does not say one thing and do another.
    pub(crate) fn forget_below(&self, generation: u64) {
        self.0.lock().take_if(|read| read.value < generation);
    }
}

/// The spots of one session, or of the account, as they come to be asked for: one for each connection. Without
/// them the line `stateless-token` of the benchmark `request` exceeds its limits: four times its instructions.
#[derive(Default)]
pub(crate) struct GrantKeyCache(OnceLock<Box<Mutex<Vec<(BlindIndexKey, Arc<GrantKey>)>>>>);

impl GrantKeyCache {
    /// The spot of a connection, as rows are named under this key.
    pub(crate) fn get(&self, index: &BlindIndexKey, name: &str, make: impl FnOnce() -> GrantKey) -> Arc<GrantKey> {
        let known = self.0.get_or_init(Box::default);
        let mut known = known.lock();
        if let Some((named_by, grant_key)) = known.iter().find(|(_, grant_key)| grant_key.connection == name)
            && named_by == index
        {
            return Arc::clone(grant_key);
        }
        // A store that came back empty may name its rows anew.
        known.retain(|(named_by, _)| named_by == index);
        let grant_key = Arc::new(make());
        known.push((index.clone(), Arc::clone(&grant_key)));
        grant_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{GrantSource, Purpose};
    use crate::store::Change;

    fn grant_key(connection: &str) -> GrantKey {
        let owner = Owner::Account { name: "a".to_owned() };
        GrantKey {
            row: RecordKey { purpose: Purpose::Grant, key: Key([1; 32]), owner: owner.encoded() },
            owner,
            client: [2; 32],
            provider: ProviderId::FIRST,
            connection: connection.to_owned(),
            session: None,
            cookies: OnceLock::new(),
            newest: NewestGeneration::default(),
        }
    }

    #[test]
    fn a_grant_is_its_owners_at_one_registration() {
        let place = grant_key("mail");
        let grant = Grant::new(place.owner.clone(), place.client, "mail", GrantSource::Consent);
        assert!(place.holds(&grant));
        assert!(!place.holds(&Grant { client: [3; 32], ..grant.clone() }));
        assert!(!place.holds(&Grant { owner: Owner::Account { name: "b".to_owned() }, ..grant }));
    }

    /// A store that came back empty names its rows anew: what was worked out before it did counts no more.
    #[test]
    fn a_place_is_worked_out_once_for_a_connection_and_a_key() {
        let cache = GrantKeyCache::default();
        let [first, second] = [[1; 32], [2; 32]].map(BlindIndexKey::new);
        let made = std::cell::Cell::new(0);
        let get = |index: &BlindIndexKey, name: &str| {
            let make = || {
                made.set(made.get() + 1);
                grant_key(name)
            };
            (cache.get(index, name, make).connection.clone(), made.get())
        };
        for _ in 0..2 {
            assert_eq!(get(&first, "mail"), ("mail".to_owned(), 1));
        }
        assert_eq!([get(&first, "files").1, get(&first, "mail").1, get(&first, "files").1], [2; 3]);
        assert_eq!([get(&second, "mail").1, get(&BlindIndexKey::new([2; 32]), "mail").1], [3; 2]);
        assert_eq!(get(&first, "files").1, 4, "it went with the key");
    }

    #[test]
    fn what_was_read_is_believed_for_a_while_and_until_something_is_heard() {
        let (newest, invalidations, key) = (NewestGeneration::default(), Invalidations::default(), Key([7; 32]));
        let at = |seconds| ClockReading { wall: Timestamp::from_secs(seconds), monotonic: seconds * 1000 };
        let known = |now| newest.generation(Slot::of(key), &invalidations, at(now));
        assert_eq!(known(10), None);
        let asked = ObservedAt { at: at(10), heard: invalidations.heard() };
        let (limit, until) = (Duration::from_secs(2), Timestamp::from_secs(12));
        let read = Observed { value: 3, asked, limit, until };
        newest.put(read);
        assert_eq!([7, 10, 11, 12].map(known), [None, Some(3), Some(3), None], "a clock may go back");
        invalidations.hear(Change::Row(Key([8; 32])));
        assert_eq!(known(10), Some(3), "another row's");
        invalidations.hear(Change::Row(key));
        assert_eq!(known(10), None);
        newest.put(read);
        assert_eq!(known(10), None, "it was asked before");
        newest.put(Observed { asked: ObservedAt { heard: invalidations.heard(), ..asked }, ..read });
        newest.forget_below(3);
        assert_eq!(known(10), Some(3));
        newest.forget_below(4);
        assert_eq!(known(10), None);
    }
}
