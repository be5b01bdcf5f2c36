//! Session ids: 256 random bits, as they stand in a cookie and as they are found again.

use std::hash::{BuildHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::Equivalent;
use subtle::ConstantTimeEq;

use crate::records::{KeyRing, Purpose, RecordKey};
use crate::store::Key;

/// So many characters of base64url are 256 bits.
const LENGTH: usize = 43;

/// The 256 random bits in a browser's cookie, as the characters that stand there. Equality takes the same time wherever
/// the difference is.
#[derive(Clone, Copy, Eq)]
pub(crate) struct SessionId([u8; LENGTH]);

/// The value of a cookie that may be a session's id. It is compared with known ids as it is: to decode it costs more
/// than to find it.
#[derive(Clone, Copy)]
pub(crate) struct ShownId<'a>(&'a [u8; LENGTH]);

impl SessionId {
    pub(crate) fn new(random: [u8; 32]) -> Self {
        let mut text = [0; LENGTH];
        // It always fits.
        let _ = URL_SAFE_NO_PAD.encode_slice(random, &mut text);
        Self(text)
    }

    /// Reads a cookie's value; anything that is not exactly an id is no session.
    pub(crate) fn from_cookie(value: &[u8]) -> Option<Self> {
        ShownId::from_cookie(value)?.decode()
    }

    pub(crate) fn to_cookie(self) -> String {
        self.0.into_iter().map(char::from).collect()
    }

    pub(crate) fn bytes(self) -> [u8; 32] {
        decode(&self.0).unwrap_or_default()
    }

    /// The session's row. Who reads the database learns no id.
    pub(crate) fn row(self, keys: &KeyRing) -> RecordKey {
        RecordKey::new(Purpose::Session, Key(keys.name(&self.bytes())))
    }

    /// Where it is noted that a session which its browser keeps has ended.
    pub(crate) fn ended_row(self, keys: &KeyRing) -> RecordKey {
        RecordKey { purpose: Purpose::EndedSession, ..self.row(keys) }
    }
}

impl<'a> ShownId<'a> {
    /// Of a cookie's value that has the length of an id.
    pub(crate) fn from_cookie(value: &'a [u8]) -> Option<Self> {
        value.try_into().ok().map(Self)
    }

    pub(crate) fn decode(self) -> Option<SessionId> {
        decode(self.0).map(|_| SessionId(*self.0))
    }
}

/// The decoder takes one spelling only, and wants room for what more characters would stand for.
fn decode(text: &[u8; LENGTH]) -> Option<[u8; 32]> {
    let mut decoded = [0; 33];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).ok()?;
    decoded.first_chunk().filter(|_| length == 32).copied()
}

/// Words instead of bytes: the same in a quarter of the time. The last two overlap.
fn words(text: &[u8; LENGTH]) -> [u64; 6] {
    let (words, _) = text.as_chunks::<8>();
    let last = text.last_chunk::<8>();
    std::array::from_fn(|position| words.get(position).or(last).map_or(0, |word| u64::from_le_bytes(*word)))
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        words(&self.0).ct_eq(&words(&other.0)).into()
    }
}

impl Equivalent<SessionId> for ShownId<'_> {
    fn equivalent(&self, id: &SessionId) -> bool {
        words(self.0).ct_eq(&words(&id.0)).into()
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ShownId(&self.0).hash(state);
    }
}

impl Hash for ShownId<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [first, second, ..] = words(self.0);
        state.write_u64(first);
        state.write_u64(second);
    }
}

/// Hashes ids by their first 96 bits and a secret of this process: whoever chooses ids cannot make them collide, and the
/// time of a look-up tells nothing of the rest.
#[derive(Clone, Copy)]
pub(crate) struct IdHasher {
    key: u64,
    state: u64,
}

impl IdHasher {
    pub(crate) fn new(random: [u8; 16]) -> Self {
        let secret = u128::from_le_bytes(random);
        Self { key: secret as u64, state: (secret >> 64) as u64 }
    }
}

impl BuildHasher for IdHasher {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "a session id hashes as two words, not as {} bytes", bytes.len());
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key | 1);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Ids that somebody chose to collide in one process do not in another.
    #[test]
    fn hashes_depend_on_a_secret() {
        let keys = [*b"0123456789abcdef", *b"fedcba9876543210"].map(IdHasher::new);
        let ids = (0..12).map(|place| {
            let mut id = [0; 32];
            id[place] = 1;
            SessionId::new(id)
        });
        let mut hashes: Vec<u64> = ids.flat_map(|id| keys.map(|key| key.hash_one(id))).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 24);
    }

    #[test]
    fn only_one_spelling_is_an_id() {
        let id = SessionId::new([255; 32]);
        let cookie = id.to_cookie();
        assert!(SessionId::from_cookie(cookie.as_bytes()) == Some(id));
        let mut trailing = cookie.clone();
        trailing.replace_range(42.., "9");
        for junk in ["", "x", &cookie[..42], &format!("{cookie}A"), &format!("{cookie}="), &trailing, &"+".repeat(43)] {
            assert!(SessionId::from_cookie(junk.as_bytes()).is_none(), "{junk}");
        }
    }

    proptest! {
        #[test]
        fn any_cookie_is_read_without_panic_and_spelled_one_way(value: Vec<u8>) {
            if let Some(id) = SessionId::from_cookie(&value) {
                prop_assert_eq!(id.to_cookie().into_bytes(), value);
            }
        }

        #[test]
        fn ids_come_back_from_cookies(id: [u8; 32], position in 0..43_usize, character: u8) {
            let mut cookie = SessionId::new(id).to_cookie().into_bytes();
            prop_assert_eq!(SessionId::from_cookie(&cookie).map(SessionId::bytes), Some(id));
            cookie[position] = character;
            let decoded = URL_SAFE_NO_PAD.decode(&cookie).ok();
            prop_assert_eq!(SessionId::from_cookie(&cookie).map(|id| id.bytes().to_vec()), decoded);
        }
    }
}
