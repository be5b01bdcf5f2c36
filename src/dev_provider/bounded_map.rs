//! A map that forgets: what has expired first, then what is oldest.

use std::collections::HashMap;

use crate::clock::Timestamp;

pub(super) struct Bounded<T> {
    entries: HashMap<String, BoundedEntry<T>>,
    capacity: usize,
    inserted: u64,
}

struct BoundedEntry<T> {
    value: T,
    expires_at: Timestamp,
    order: u64,
}

impl<T> Bounded<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity, inserted: 0 }
    }

    pub(super) fn insert(&mut self, key: String, value: T, expires_at: Timestamp, now: Timestamp) {
        // Looking through everything is cheap enough for the rare moment when the map is full.
        if self.entries.len() >= self.capacity {
            self.entries.retain(|_, entry| entry.expires_at > now);
        }
        if self.entries.len() >= self.capacity
            && let Some(oldest) =
                self.entries.iter().min_by_key(|(_, entry)| entry.order).map(|(key, _)| key.clone())
        {
            self.entries.remove(&oldest);
        }
        self.inserted += 1;
        self.entries.insert(key, BoundedEntry { value, expires_at, order: self.inserted });
    }

    pub(super) fn get(&self, key: &str, now: Timestamp) -> Option<&T> {
        self.entries.get(key).filter(|entry| entry.expires_at > now).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, key: &str, now: Timestamp) -> Option<&mut T> {
        self.entries.get_mut(key).filter(|entry| entry.expires_at > now).map(|entry| &mut entry.value)
    }

    pub(super) fn remove(&mut self, key: &str, now: Timestamp) -> Option<T> {
        self.entries.remove(key).filter(|entry| entry.expires_at > now).map(|entry| entry.value)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.entries.retain(|_, entry| keep(&entry.value));
    }

    pub(super) fn key_of(&self, now: Timestamp, mut wanted: impl FnMut(&T) -> bool) -> Option<String> {
        let mut live = self.entries.iter().filter(|(_, entry)| entry.expires_at > now);
        live.find(|(_, entry)| wanted(&entry.value)).map(|(key, _)| key.clone())
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut().map(|entry| &mut entry.value)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expired_go_first_and_then_the_oldest() {
        let at = Timestamp::from_secs;
        let mut map = Bounded::new(2);
        map.insert("old".into(), 1, at(100), at(0));
        map.insert("brief".into(), 2, at(5), at(0));
        map.insert("new".into(), 3, at(100), at(10));
        assert_eq!((map.get("old", at(10)), map.get("brief", at(10))), (Some(&1), None));
        map.insert("newer".into(), 4, at(100), at(10));
        assert_eq!((map.get("old", at(10)), map.get("new", at(10)), map.len()), (None, Some(&3), 2));
    }

    #[test]
    fn the_expired_is_not_there() {
        let at = Timestamp::from_secs;
        let mut map = Bounded::new(2);
        map.insert("key".into(), (), at(5), at(0));
        assert!(map.get("key", at(4)).is_some() && map.get("key", at(5)).is_none());
        assert!(map.get_mut("key", at(5)).is_none() && map.remove("key", at(5)).is_none());
    }
}
