//! Visitors: browsers in which nobody need be signed in, each under a random name of its own.

use sha2::{Digest, Sha256};

use super::session_id::SessionId;
use crate::records::grant::Owner;

/// The cookie's name.
pub(crate) const COOKIE: &str = "visitor";

/// A browser, by the 256 random bits in its cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visitor(SessionId);

impl Visitor {
    pub(crate) fn new(random: [u8; 32]) -> Self {
        Self(SessionId::new(random))
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
