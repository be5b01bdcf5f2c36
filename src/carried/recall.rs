//! What was opened before, found again by the whole text that it was opened from.
//!
//! It saves work and decides nothing: a text that is not the same to its last byte is opened like any other.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use subtle::ConstantTimeEq;

/// A part of the text that the seal's nonce makes another one at each sealing: where to look.
const LABEL: std::ops::Range<usize> = 7..23;

/// Opened texts, as many as it holds; those that are used least go first.
pub(crate) struct Recall<T> {
    opened: Cache<u128, Arc<Opened<T>>, UnitWeighter, BuildHasherDefault<LowHalf>>,
}

struct Opened<T> {
    text: Box<[u8]>,
    value: T,
}

impl<T: Clone> Recall<T> {
    pub(crate) fn new(most: u64) -> Self {
        let hasher = BuildHasherDefault::default();
        Self { opened: Cache::with(256, most, UnitWeighter, hasher, DefaultLifecycle::default()) }
    }

    pub(crate) fn get(&self, text: &[u8]) -> Option<T> {
        let opened = self.opened.get(&label(text)?)?;
        is_same(&opened.text, text).then(|| opened.value.clone())
    }

    /// To be called with what was opened, never with what somebody sent.
    pub(crate) fn put(&self, text: &[u8], value: T) {
        if let Some(label) = label(text) {
            self.opened.insert(label, Arc::new(Opened { text: text.into(), value }));
        }
    }
}

fn label(text: &[u8]) -> Option<u128> {
    Some(u128::from_le_bytes(text.get(LABEL)?.try_into().ok()?))
}

/// Takes the same time wherever the difference is: nobody finds a text out byte by byte.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ((words, tail), (other_words, other_tail)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let mut difference = 0_u64;
    for (word, other) in words.iter().zip(other_words) {
        difference |= u64::from_le_bytes(*word) ^ u64::from_le_bytes(*other);
    }
    for (byte, other) in tail.iter().zip(other_tail) {
        difference |= u64::from(byte ^ other);
    }
    difference.ct_eq(&0).into()
}

/// Labels are random where they are put: half of one is a hash already.
#[derive(Default)]
struct LowHalf(u64);

impl Hasher for LowHalf {
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "a label hashes as one number, not as {} bytes", bytes.len());
    }

    fn write_u128(&mut self, label: u128) {
        self.0 = (label ^ (label >> 64)) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_whole_text_is_recalled(text in "[A-Za-z0-9]{23,80}", at: prop::sample::Index, more in "[a-z]{0,3}") {
            let recall = Recall::new(10);
            recall.put(text.as_bytes(), 1);
            prop_assert_eq!(recall.get(text.as_bytes()), Some(1));
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            prop_assert_eq!(recall.get(&changed), None);
            prop_assert_eq!(recall.get(&text.as_bytes()[..at]), None);
            if !more.is_empty() {
                prop_assert_eq!(recall.get((text + &more).as_bytes()), None);
            }
        }
    }

    #[test]
    fn what_is_too_short_is_no_text_of_ours() {
        let recall = Recall::new(10);
        recall.put(b"short", 1);
        assert_eq!(recall.get(b"short"), None);
    }
}
