//! An access token, as a handler gets it.

use std::fmt;

use http::HeaderValue;

use crate::provider::bearer;
use crate::secret::Secret;

/// An access token: prints nothing, compares in constant time, is wiped when dropped, and is no `Clone`.
#[derive(PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    pub(crate) fn new(token: Secret) -> Self {
        Self(token)
    }

    /// The token itself, for a client that is not this crate's. Where it goes is the caller's business then.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }

    /// The value of an `Authorization` header (RFC 6750 section 2.1), marked as sensitive.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        bearer(&self.0)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([secret])")
    }
}
