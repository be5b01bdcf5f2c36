//! Secrets as types: they print nothing, compare in constant time and are wiped when dropped.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A string that must not be shown: a client secret, a sealing secret, a refresh token.
///
/// `Debug` prints `[secret]`, there is no `Display`, and equality takes the same time wherever the
/// difference is. It is read by name only, with [`Secret::expose_secret`], and cannot be serialised.
///
/// Clones share it: it lies in memory once, and is wiped with the last of them.
///
/// ```
/// use tower_oidc::Secret;
///
/// let secret = Secret::new("correct horse battery staple");
/// assert_eq!(format!("{secret:?}"), "[secret]");
/// assert_eq!(secret, Secret::from("correct horse battery staple"));
/// assert_eq!(secret.expose_secret().len(), 28);
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Arc<Zeroizing<String>>);

/// `Debug` that shows the name of a type, and of its contents only what is named here.
macro_rules! opaque {
    ($type:ident $(<$($parameter:ident),+>)?) => {
        opaque!($type $(<$($parameter),+>)?, |_it| ; finish);
    };
    ($type:ident $(<$($parameter:ident),+>)?, |$it:ident| $($shown:ident = $value:expr),+) => {
        opaque!($type $(<$($parameter),+>)?, |$it| $($shown = $value),+; finish_non_exhaustive);
    };
    ($type:ident $(<$($parameter:ident),+>)?, |$it:ident| $($shown:ident = $value:expr),*; $finish:ident) => {
        impl $(<$($parameter),+>)? std::fmt::Debug for $type $(<$($parameter),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $it = self;
                f.debug_struct(stringify!($type))$(.field(stringify!($shown), &$value))*.$finish()
            }
        }
    };
}
pub(crate) use opaque;

/// A type that is read as one of its fields is.
macro_rules! derefs {
    ($type:ty => $field:tt: $target:ty) => {
        impl std::ops::Deref for $type {
            type Target = $target;

            fn deref(&self) -> &$target {
                &self.$field
            }
        }
    };
}
pub(crate) use derefs;

impl Secret {
    /// Takes a secret over.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(secret.into())))
    }

    /// The secret itself. Whoever calls this answers for where it goes.
    pub fn expose_secret(&self) -> &str {
        &self.0
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

impl<T: Into<String>> From<T> for Secret {
    fn from(secret: T) -> Self {
        Self::new(secret)
    }
}

/// How tokens lie in what is sealed as a whole: `#[serde(with = "packed")]`.
///
/// A JWT, and most other tokens, are base64url, and a cookie would encode that once more. So the bytes are kept that the
/// parts between dots stand for, where they stand for bytes and are spelled the one way.
pub(crate) mod packed {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Secret, pack, unpack};

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&pack(secret.expose_secret()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        unpack(<&[u8]>::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("it is no token"))
    }
}

/// The same for one that may be absent.
pub(crate) mod packed_option {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Secret, pack, unpack};

    pub(crate) fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        let packed = secret.as_ref().map(|secret| pack(secret.expose_secret())).unwrap_or_default();
        serializer.serialize_bytes(&packed)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        match <&[u8]>::deserialize(deserializer)? {
            [] => Ok(None),
            packed => unpack(packed).ok_or_else(|| D::Error::custom("it is no token")).map(Some),
        }
    }
}

/// Shorter ones are not worth it.
const SHORTEST: usize = 16;

/// The number of parts, the length of each but the last, and its bytes; or 0 and the text. Never empty.
fn pack(token: &str) -> Zeroizing<Vec<u8>> {
    let mut packed = Zeroizing::new(Vec::with_capacity(token.len() + 1));
    if token.len() < SHORTEST || pack_parts(token, &mut packed).is_none() {
        packed.clear();
        packed.push(0);
        packed.extend_from_slice(token.as_bytes());
    }
    packed
}

fn pack_parts(token: &str, packed: &mut Vec<u8>) -> Option<()> {
    let count = token.split('.').count();
    packed.push(count.try_into().ok()?);
    for (index, part) in token.split('.').enumerate() {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(part).ok()?);
        if index + 1 < count {
            packed.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_le_bytes());
        }
        packed.extend_from_slice(&bytes);
    }
    // The decoder takes one spelling only; this makes no promise of it.
    (unpack(packed)?.expose_secret() == token).then_some(())
}

/// The token again; `None` where this is none.
fn unpack(packed: &[u8]) -> Option<Secret> {
    let (&count, mut rest) = packed.split_first()?;
    if count == 0 {
        return Some(Secret::from(std::str::from_utf8(rest).ok()?));
    }
    let mut token = String::with_capacity(packed.len().div_ceil(3) * 4 + usize::from(count));
    for left in (0..count).rev() {
        let mut part = rest;
        if left > 0 {
            let (length, after) = rest.split_first_chunk()?;
            (part, rest) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
        }
        URL_SAFE_NO_PAD.encode_string(part, &mut token);
        token.push_str(if left > 0 { "." } else { "" });
    }
    Some(Secret::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(token: &str) -> usize {
        let packed = pack(token);
        assert!(unpack(&packed).unwrap().expose_secret() == token, "{token}");
        packed.len()
    }

    #[test]
    fn tokens_of_base64_take_three_quarters() {
        let jwt = format!("{}.{}.{}", "a".repeat(40), "b".repeat(400), "A".repeat(342));
        assert!(packed(&jwt) < 600);
        assert!(packed(&"A".repeat(43)) < 36);
    }

    /// A spelling that decodes and is not the one that encoding gives must come back as it was.
    #[test]
    fn other_spellings_stay_as_they_are() {
        for token in [
            "",
            "x",
            "1//0gx-opaque/of+another~kind",
            "AAAAAAAAAAAAAAAAAAAAAAB",
            "AAAA.AAAA.AAAAAAAAAAAAAA==",
            "........................",
        ] {
            packed(token);
        }
    }

    proptest! {
        #[test]
        fn every_token_comes_back(token in "[A-Za-z0-9_.=+/-]{0,80}", any: String) {
            packed(&token);
            packed(&any);
        }
    }
}
