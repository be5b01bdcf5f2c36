//! Tokens in few bytes: a JWT is base64url of three parts, and sealing would encode it once more.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

use crate::secret::Secret;

/// A token: the bytes that its parts between dots stand for, where they stand for bytes and are spelled the one way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PackedToken {
    Text(SecretBytes),
    Parts(Vec<SecretBytes>),
}

/// Shorter ones are not worth it.
const SHORTEST: usize = 16;

impl PackedToken {
    pub(crate) fn new(token: &Secret) -> Self {
        let token = token.expose_secret();
        let part = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            // The decoder takes one spelling only; this makes no promise of it.
            (URL_SAFE_NO_PAD.encode(&bytes) == part).then_some(SecretBytes(bytes))
        };
        let parts = || token.split('.').map(part).collect::<Option<Vec<SecretBytes>>>();
        match (token.len() >= SHORTEST).then(parts).flatten() {
            Some(parts) => Self::Parts(parts),
            None => Self::Text(SecretBytes(token.as_bytes().to_owned())),
        }
    }

    /// The token again; `None` where this is none.
    pub(crate) fn token(&self) -> Option<Secret> {
        match self {
            Self::Text(text) => Some(Secret::from(std::str::from_utf8(&text.0).ok()?)),
            Self::Parts(parts) => {
                let length: usize = parts.iter().map(|part| part.0.len().div_ceil(3) * 4 + 1).sum();
                let mut token = String::with_capacity(length);
                for (position, part) in parts.iter().enumerate() {
                    if position > 0 {
                        token.push('.');
                    }
                    URL_SAFE_NO_PAD.encode_string(&part.0, &mut token);
                }
                Some(Secret::from(token))
            }
        }
    }
}

impl fmt::Debug for PackedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packed([secret])")
    }
}

/// Secret bytes, encoded at once and not one by one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretBytes(Vec<u8>);

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = SecretBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<SecretBytes, E> {
                Ok(SecretBytes(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(token: &str) -> usize {
        let packed = PackedToken::new(&token.into());
        let bytes = postcard::to_allocvec(&packed).unwrap();
        let read: PackedToken = postcard::from_bytes(&bytes).unwrap();
        assert!(read.token().unwrap().expose_secret() == token, "{token}");
        bytes.len()
    }

    #[test]
    fn tokens_of_base64_take_three_quarters() {
        let jwt = format!("{}.{}.{}", "a".repeat(40), "b".repeat(400), "A".repeat(342));
        assert!(packed(&jwt) < 600);
        assert!(packed(&"A".repeat(43)) < 36);
        assert_eq!(format!("{:?}", PackedToken::new(&jwt.as_str().into())), "Packed([secret])");
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
