//! What was opened before, found again by the whole text that it was opened from.
//!
//! It saves work and decides nothing: a text that is not the same to its last byte is opened like any other.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use subtle::ConstantTimeEq;

/// A part of the text that the seal's nonce makes another one at each sealing: where to look.
const LABEL: std::ops::Range<usize> = 7..23;

/// What an entry takes besides its text and what was opened from it, which is about as long.
const OVERHEAD: usize = 256;

/// Opened texts, as many as fit; those that are used least go first.
///
/// Not moka's: with it the lines `stateless-token` and `stateless-token-first` of the benchmark `request` exceed their
/// limits.
pub(crate) struct OpenedCache<T> {
    opened: Cache<u128, Arc<CacheEntry<T>>, EntryBytes, BuildHasherDefault<LowHalf>>,
}

struct CacheEntry<T> {
    text: Box<[u8]>,
    value: T,
}

/// Weighs entries by the bytes that they take.
#[derive(Clone, Copy)]
struct EntryBytes;

impl<T> Weighter<u128, Arc<CacheEntry<T>>> for EntryBytes {
    fn weight(&self, _: &u128, entry: &Arc<CacheEntry<T>>) -> u64 {
        (OVERHEAD + 2 * entry.text.len()) as u64
    }
}

impl<T: Clone> OpenedCache<T> {
    /// `most` is in bytes.
    pub(crate) fn new(most: u64) -> Self {
        let hasher = BuildHasherDefault::default();
        Self { opened: Cache::with(256, most, EntryBytes, hasher, DefaultLifecycle::default()) }
    }

    /// Lets go of what does not last any more.
    pub(crate) fn retain(&self, lasts: impl Fn(&T) -> bool) {
        self.opened.retain(|_, entry| lasts(&entry.value));
    }

    /// What was opened from a text of these parts.
    pub(crate) fn get(&self, text: &[&[u8]]) -> Option<T> {
        let opened = self.opened.get(&label(text)?)?;
        is_same(&opened.text, text).then(|| opened.value.clone())
    }

    /// To be called with what was opened, never with what somebody sent.
    pub(crate) fn put(&self, text: &[&[u8]], value: T) {
        if let Some(label) = label(text) {
            self.opened.insert(label, Arc::new(CacheEntry { text: text.concat().into(), value }));
        }
    }
}

fn label(text: &[&[u8]]) -> Option<u128> {
    Some(u128::from_le_bytes(text.first()?.get(LABEL)?.try_into().ok()?))
}

/// Takes the same time wherever the difference is: nobody finds a text out byte by byte.
fn is_same(known: &[u8], text: &[&[u8]]) -> bool {
    let mut rest = known;
    let mut difference = 0_u8;
    for part in text {
        let Some((here, after)) = rest.split_at_checked(part.len()) else { return false };
        difference = here.iter().zip(*part).fold(difference, |all, (one, other)| all | (one ^ other));
        rest = after;
    }
    rest.is_empty() && difference.ct_eq(&0).into()
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
        fn only_the_whole_text_is_recalled(
            text in "[A-Za-z0-9]{23,80}",
            split: prop::sample::Index,
            at: prop::sample::Index,
            more in "[a-z]{1,3}",
        ) {
            let recall = OpenedCache::new(10_000);
            let text = text.into_bytes();
            // The first part of several is a whole cookie, and much longer than the label.
            let split = 23 + split.index(text.len() - 22);
            recall.put(&[&text[..split], &text[split..]], 1);
            prop_assert_eq!(recall.get(&[&text]), Some(1));
            prop_assert_eq!(recall.get(&[&text[..split], &text[split..]]), Some(1));
            let mut changed = text.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1;
            prop_assert_eq!(recall.get(&[&changed]), None);
            prop_assert_eq!(recall.get(&[&changed[..split], &changed[split..]]), None);
            prop_assert_eq!(recall.get(&[&text[..at]]), None);
            prop_assert_eq!(recall.get(&[&text, more.as_bytes()]), None);
            prop_assert_eq!(recall.get(&[]), None);
        }
    }

    #[test]
    fn what_does_not_last_is_let_go_and_no_more_is_kept_than_fits() {
        let recall = OpenedCache::new(400_000);
        let text = |number: u32| format!("{number:023}{}", "x".repeat(1000)).into_bytes();
        for number in 0..1000 {
            recall.put(&[&text(number)], number);
        }
        assert!((1..=400_000 / 2023).contains(&recall.opened.len()), "{}", recall.opened.len());
        let kept = (0..1000).filter(|number| recall.get(&[&text(*number)]).is_some()).collect::<Vec<_>>();
        let lasting = kept[kept.len() / 2];
        recall.retain(|number| *number == lasting);
        assert_eq!((recall.opened.len(), recall.get(&[&text(lasting)])), (1, Some(lasting)));
    }

    #[test]
    fn what_is_too_short_is_no_text_of_ours() {
        let recall = OpenedCache::new(10_000);
        recall.put(&[b"short"], 1);
        assert_eq!(recall.get(&[b"short"]), None);
    }
}
