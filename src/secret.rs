//! Secrets as types: they print nothing, compare in constant time and are wiped when dropped.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A string that must not be shown: a client secret, a sealing secret, a refresh token.
///
/// `Debug` prints `[secret]`, there is no `Display`, and equality takes the same time wherever the
/// difference is. It is read by name only, with [`Secret::expose_secret`], and cannot be serialised.
///
/// Clones share it: it lies in memory once, and is wiped with the last of them.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Arc<Text>);

/// Wiped when dropped.
#[derive(Default)]
struct Text(String);

impl Secret {
    /// Takes a secret over.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Arc::new(Text(secret.into())))
    }

    /// The secret itself. Whoever calls this answers for where it goes.
    pub fn expose_secret(&self) -> &str {
        &self.0.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self::new(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self::new(secret)
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// For records that are sealed as a whole: `#[serde(with = "sealed")]`.
pub(crate) mod sealed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        Secret::deserialize(deserializer)
    }
}

/// The same for a secret that may be absent.
pub(crate) mod sealed_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose_secret).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        Option::deserialize(deserializer)
    }
}
