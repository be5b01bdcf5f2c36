//! Visitors: browsers in which nobody need be signed in, each under a random name of its own, which is a new one after each
//! grant: whoever put a name into a browser has nothing of what is granted there.

use sha2::{Digest, Sha256};

use super::session_id::SessionId;
use crate::records::{BlindIndexKey, Owner};

/// The cookie's name.
pub(crate) const COOKIE: &str = "visitor";

/// A browser, by the 256 bits in its cookie: random ones, and half of their keyed hash, by which a name that was made here
/// is known from one that was not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visitor(SessionId);

impl Visitor {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(SessionId::new(bytes))
    }

    pub(crate) fn random(random: [u8; 16], index: &BlindIndexKey) -> Self {
        let (mut bytes, hash) = ([0; 32], index.hash(&[b"visitor's name", &random]));
        bytes[..16].copy_from_slice(&random);
        bytes[16..].copy_from_slice(&hash[..16]);
        Self::new(bytes)
    }

    /// Whether the application made this name.
    pub(crate) fn is_made(self, index: &BlindIndexKey) -> bool {
        self.bytes().first_chunk().is_some_and(|random| Self::random(*random, index) == self)
    }

    /// Reads a cookie's value; anything that is not exactly an id is nobody.
    pub(crate) fn from_cookie(value: &[u8]) -> Option<Self> {
        SessionId::from_cookie(value).map(Self)
    }

    pub(crate) fn to_cookie(self) -> String {
        self.0.to_cookie()
    }

    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0.bytes()
    }

    /// Whom their grants belong to. What is kept holds no id: who reads it cannot come with it.
    pub(crate) fn owner(self) -> Owner {
        Owner::Visitor { id: Sha256::digest(self.bytes()).into() }
    }
}
