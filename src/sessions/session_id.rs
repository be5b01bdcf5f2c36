//! Session ids: 256 random bits, as they stand in a cookie and as they are found again.

use std::hash::{Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::records::RecordKey;
use crate::records::seal::{KeyRing, Purpose};
use crate::store::Key;

/// The 256 random bits in a browser's cookie. Equality takes the same time wherever the difference is.
#[derive(Clone, Copy, Eq)]
pub(crate) struct SessionId([u8; 32]);

impl SessionId {
    pub(crate) fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Reads a cookie's value; anything that is not exactly an id is no session.
    pub(crate) fn from_cookie(value: &[u8]) -> Option<Self> {
        // The decoder takes one spelling only, and wants room for what more characters would stand for.
        let mut decoded = [0; 33];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut decoded).ok()?;
        decoded.first_chunk().filter(|_| length == 32).copied().map(Self)
    }

    pub(crate) fn to_cookie(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }

    fn words(self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|position| u64::from_le_bytes(words[position]))
    }

    /// The session's row. Who reads the database learns no id.
    pub(crate) fn row(self, keys: &KeyRing) -> RecordKey {
        RecordKey { purpose: Purpose::Session, key: Key(keys.name(&self.0)), owner: Vec::new() }
    }

    /// Where it is noted that a session which its browser keeps has ended.
    pub(crate) fn ended_row(self, keys: &KeyRing) -> RecordKey {
        RecordKey { purpose: Purpose::EndedSession, ..self.row(keys) }
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        // Words instead of bytes: the same in a quarter of the time.
        self.words().ct_eq(&other.words()).into()
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.words()[0]);
    }
}

/// Ids are random and made here, so that they are hashes already: nobody can make many that collide. What the time
/// of a look-up may tell of an id is this word at the most, and three others stay.
#[derive(Default)]
pub(crate) struct FirstWord(u64);

impl Hasher for FirstWord {
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "a session id hashes as one word, not as {} bytes", bytes.len());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_spelling_is_an_id() {
        let id = SessionId::new([255; 32]);
        let cookie = id.to_cookie();
        assert!(SessionId::from_cookie(cookie.as_bytes()) == Some(id));
        let mut trailing = cookie.clone();
        trailing.replace_range(42.., "9");
        for junk in
            ["", "x", &cookie[..42], &format!("{cookie}A"), &format!("{cookie}="), &trailing, &"+".repeat(43)]
        {
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
