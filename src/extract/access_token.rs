//! An access token, as handlers get it.

use http::HeaderValue;

use crate::provider::bearer;
use crate::secret::Secret;

/// An access token. `Debug` does not print it, it compares in constant time, it is wiped when it is dropped, and it is
/// not `Clone`.
#[derive(Debug, PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    pub(crate) fn new(token: Secret) -> Self {
        Self(token)
    }

    /// The token as text, for an HTTP client other than this crate's. The caller is responsible for its destination.
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
