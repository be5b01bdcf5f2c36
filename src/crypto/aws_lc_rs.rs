//! The signatures of aws-lc-rs.

use ::aws_lc_rs::error::KeyRejected;
pub(crate) use ::aws_lc_rs::rand::SystemRandom;
pub(crate) use ::aws_lc_rs::{error, hmac, rsa, signature};

use self::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

/// A key pair on P-256 in PKCS#8.
pub(crate) fn p256(pkcs8: &[u8]) -> Result<EcdsaKeyPair, KeyRejected> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
}

/// A key pair on P-256 of its private number and its point.
pub(crate) fn p256_of(number: &[u8], point: &[u8]) -> Result<EcdsaKeyPair, KeyRejected> {
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, number, point)
}
