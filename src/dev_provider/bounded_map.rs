//! A map that forgets what expires first.

use std::collections::HashMap;

use smart_default::SmartDefault;

use crate::clock::Timestamp;

/// A map with at most `CAPACITY` entries.
#[derive(SmartDefault)]
pub(super) struct Bounded<T, const CAPACITY: usize> {
    /// Each with the time at which it expires.
    pub(super) entries: HashMap<String, (T, Timestamp)>,
}

impl<T, const CAPACITY: usize> Bounded<T, CAPACITY> {
    pub(super) fn insert(&mut self, key: String, value: T, expires_at: Timestamp) {
        // Looking through everything is cheap enough for the rare moment when the map is full.
        if self.entries.len() >= CAPACITY
            && let Some(first) = self.entries.iter().min_by_key(|(_, (_, end))| *end).map(|(key, _)| key.clone())
        {
            self.entries.remove(&first);
        }
        self.entries.insert(key, (value, expires_at));
    }

    pub(super) fn get(&self, key: &str, now: Timestamp) -> Option<&T> {
        self.entries.get(key).filter(|(_, end)| *end > now).map(|(value, _)| value)
    }

    pub(super) fn get_mut(&mut self, key: &str, now: Timestamp) -> Option<&mut T> {
        self.entries.get_mut(key).filter(|(_, end)| *end > now).map(|(value, _)| value)
    }

    pub(super) fn remove(&mut self, key: &str, now: Timestamp) -> Option<T> {
        self.entries.remove(key).filter(|(_, end)| *end > now).map(|(value, _)| value)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.entries.retain(|_, (value, _)| keep(value));
    }

    pub(super) fn live(&mut self, now: Timestamp) -> impl Iterator<Item = (&String, &mut T)> {
        let live = self.entries.iter_mut().filter(move |(_, (_, end))| *end > now);
        live.map(|(key, (value, _))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_first_goes_first() {
        let at = Timestamp::from_secs;
        let mut map = Bounded::<_, 2>::default();
        map.insert("old".into(), 1, at(99));
        map.insert("brief".into(), 2, at(5));
        map.insert("new".into(), 3, at(100));
        assert_eq!((map.get("old", at(10)), map.get("brief", at(10))), (Some(&1), None));
        map.insert("newer".into(), 4, at(100));
        assert_eq!((map.get("old", at(10)), map.get("new", at(10)), map.entries.len()), (None, Some(&3), 2));
    }

    #[test]
    fn the_expired_is_not_there() {
        let at = Timestamp::from_secs;
        let mut map = Bounded::<_, 2>::default();
        map.insert("key".into(), (), at(5));
        assert!(map.get("key", at(4)).is_some() && map.get("key", at(5)).is_none());
        assert!(map.get_mut("key", at(5)).is_none() && map.remove("key", at(5)).is_none());
    }
}
