//! A session that its browser keeps, as a logout token names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::provider_logout::add_sid;
use crate::records::{BlindIndexKey, Invalidations, Slot};
use crate::secret::Secret;
use crate::store::Key;

/// The provider's sessions whose ID tokens came for one of ours.
pub(crate) struct ProviderSessions {
    known: Mutex<Known>,
    /// Whether the browser does not have all `sids`.
    unsealed: AtomicBool,
}

struct Known {
    sids: Vec<String>,
    /// A newer ID token than the browser has.
    id_token: Option<Secret>,
    /// Where it is noted that logout tokens came.
    notes: Option<LogoutNotes>,
}

/// The keys of notes, as rows are named under this key, and where changes of them are noted.
type LogoutNotes = (BlindIndexKey, Arc<[(Key, Slot)]>);

impl ProviderSessions {
    pub(crate) fn new(sids: Vec<String>) -> Self {
        let known = Mutex::new(Known { sids, id_token: None, notes: None });
        Self { known, unsealed: AtomicBool::new(false) }
    }

    pub(crate) fn sids(&self) -> Vec<String> {
        self.known.lock().sids.clone()
    }

    /// An ID token that is newer than the browser's, once.
    pub(crate) fn take_id_token(&self) -> Option<Secret> {
        self.known.lock().id_token.take()
    }

    /// A newer ID token came. True where nobody has asked yet whether the provider has ended its session.
    pub(crate) fn learn(&self, sid: Option<&str>, id_token: &Secret) -> bool {
        let mut known = self.known.lock();
        known.id_token = Some(id_token.clone());
        let Some(sid) = sid.filter(|sid| known.sids.last().is_none_or(|newest| newest != sid)) else {
            return false;
        };
        self.unsealed.store(true, Ordering::Release);
        let is_new = !known.sids.iter().any(|known| known == sid);
        known.add(sid);
        is_new
    }

    /// The browser has shown a cookie with these: it has all that is known, or another process has learned more. True where
    /// nobody has asked yet about one of them.
    pub(crate) fn shows(&self, sids: &[String]) -> bool {
        let mut known = self.known.lock();
        if known.sids == sids {
            self.unsealed.store(false, Ordering::Release);
        }
        let is_newer = sids.last().is_some_and(|newest| !known.sids.contains(newest));
        if is_newer {
            sids.iter().for_each(|sid| known.add(sid));
        }
        is_newer
    }

    pub(crate) fn is_unsealed(&self) -> bool {
        self.unsealed.load(Ordering::Acquire)
    }

    /// Where notes lie, as `find` finds them.
    pub(crate) fn notes(&self, index: &BlindIndexKey, find: impl Fn(Vec<String>) -> Vec<Key>) -> Arc<[(Key, Slot)]> {
        let mut known = self.known.lock();
        match &known.notes {
            // A store that came back empty may name its rows anew.
            Some((named_by, notes)) if named_by == index => Arc::clone(notes),
            _ => {
                let notes = find(known.sids.clone()).into_iter().map(|note| (note, Slot::of(note)));
                let notes: Arc<[_]> = notes.collect();
                known.notes = Some((index.clone(), Arc::clone(&notes)));
                notes
            }
        }
    }

    /// Whether something was heard of what the provider ended.
    pub(crate) fn has_news(&self, heard: u64, invalidations: &Invalidations) -> bool {
        let known = self.known.lock();
        let mut notes = known.notes.iter().flat_map(|(_, notes)| &**notes);
        notes.any(|(_, note)| invalidations.changed_since(heard, *note))
    }
}

impl Known {
    fn add(&mut self, sid: &str) {
        // They lie elsewhere now.
        self.notes = None;
        add_sid(&mut self.sids, sid);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::clock::{Clock, Random};
    use crate::events::Events;
    use crate::records::{KeyRing, Records};
    use crate::store::{Change, MemoryStore};

    fn index(key: [u8; 32]) -> BlindIndexKey {
        let (store, ring) = (Arc::new(MemoryStore::new()), KeyRing::new(&["secret".into()], b"app"));
        let records = Records::new(store, ring, Some(key), Clock::system(), Random::system(), Events::default());
        records.known_index().unwrap()
    }

    fn sids(sids: &[&str]) -> Vec<String> {
        sids.iter().map(|sid| (*sid).to_owned()).collect()
    }

    #[test]
    fn a_newer_id_token_is_handed_out_once_and_its_sid_is_asked_about_once() {
        let sessions = ProviderSessions::new(sids(&["s1"]));
        assert!(sessions.take_id_token().is_none());
        let learn = |sid, id_token: &str| sessions.learn(sid, &id_token.into());
        assert!(!learn(None, "t0") && !learn(Some("s1"), "t1"));
        assert!(!sessions.is_unsealed(), "the browser has it");
        assert_eq!(sessions.take_id_token(), Some("t1".into()));
        assert!(sessions.take_id_token().is_none());
        assert!(learn(Some("s2"), "t2") && sessions.is_unsealed());
        assert!(!learn(Some("s1"), "t3"), "it is known");
        assert_eq!(sessions.sids(), sids(&["s2", "s1"]), "the newest last");
    }

    #[test]
    fn what_the_browser_shows_is_sealed_and_what_it_shows_first_is_learned() {
        let sessions = ProviderSessions::new(sids(&["s1"]));
        sessions.learn(Some("s2"), &"t".into());
        assert!(!sessions.shows(&sids(&["s1"])) && sessions.is_unsealed(), "an older cookie");
        assert!(!sessions.shows(&sids(&["s1", "s2"])) && !sessions.is_unsealed());
        assert!(!sessions.shows(&[]));
        assert!(sessions.shows(&sids(&["s2", "s3"])), "another process has learned it");
        assert_eq!(sessions.sids(), sids(&["s1", "s2", "s3"]));
    }

    #[test]
    fn notes_are_looked_for_anew_under_another_key_and_for_another_sid() {
        let sessions = ProviderSessions::new(sids(&["s1"]));
        let keys = [[1; 32], [2; 32]].map(index);
        let looked = Cell::new(0);
        let notes = |at: usize| {
            let notes = sessions.notes(&keys[at], |sids| {
                looked.set(looked.get() + 1);
                vec![Key([sids.len() as u8; 32])]
            });
            (notes[0].0, looked.get())
        };
        assert_eq!([notes(0), notes(0)], [(Key([1; 32]), 1); 2]);
        assert_eq!([notes(1), notes(1)], [(Key([1; 32]), 2); 2]);
        sessions.learn(Some("s2"), &"t".into());
        assert_eq!([notes(1), notes(1)], [(Key([2; 32]), 3); 2]);
        let invalidations = Invalidations::default();
        invalidations.hear(Change::Row(Key([9; 32])));
        assert!(!sessions.has_news(0, &invalidations), "of something else");
        invalidations.hear(Change::Row(Key([2; 32])));
        assert!(sessions.has_news(0, &invalidations));
        assert!(!sessions.has_news(invalidations.heard(), &invalidations));
    }
}
