//! The signatures of ring.

use ::ring::error::KeyRejected;
use ::ring::rand::SystemRandom as Random;
pub(crate) use ::ring::{error, hmac, rand, rsa, signature};

use self::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

/// A key pair on P-256 in PKCS#8. The randomness makes its signatures harder to observe.
pub(crate) fn p256(pkcs8: &[u8], random: &Random) -> Result<EcdsaKeyPair, KeyRejected> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, random)
}

/// A key pair on P-256 of its private number and its point.
pub(crate) fn p256_of(number: &[u8], point: &[u8], random: &Random) -> Result<EcdsaKeyPair, KeyRejected> {
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, number, point, random)
}
