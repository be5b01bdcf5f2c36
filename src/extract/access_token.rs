//! An access token, as handlers get it.

use crate::secret::Secret;

/// An access token. `Debug` does not print it, it compares in constant time, it is wiped when it is dropped, and it is
/// not `Clone`.
#[derive(Debug, PartialEq, Eq)]
pub struct AccessToken(pub(crate) Secret);

impl AccessToken {
    /// The token as text, for an HTTP client other than this crate's. The caller is responsible for its destination.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}
