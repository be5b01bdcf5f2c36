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
mod tests;
