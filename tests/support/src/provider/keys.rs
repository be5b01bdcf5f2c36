//! The provider's signing keys: for each algorithm a series of generations, the same in every run.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreJwsSigningAlgorithm as Jws};
use openidconnect::{JsonWebKeyId, PrivateSigningKey};
use p256::ecdsa::signature::Signer as _;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
    Ed25519,
}

impl Alg {
    pub const ALL: [Self; 11] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
        Self::Ed25519,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The left half of the hash of `text` (OpenID Connect Core 3.1.3.6): `at_hash`, `c_hash`.
    pub fn half_hash(self, text: &str) -> String {
        let hash = match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => Sha256::digest(text).to_vec(),
            Self::Rs384 | Self::Ps384 | Self::Es384 => Sha384::digest(text).to_vec(),
            Self::Rs512 | Self::Ps512 | Self::Es512 | Self::EdDsa | Self::Ed25519 => Sha512::digest(text).to_vec(),
        };
        URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
    }
}

/// One key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub alg: Alg,
    pub generation: u8,
}

const RSA_PEMS: [&str; 3] =
    [include_str!("../keys/rsa-1.pem"), include_str!("../keys/rsa-2.pem"), include_str!("../keys/rsa-3.pem")];

/// Of the library that signs fastest: most of what the tests would wait for is these signatures.
static RSA_KEYS: LazyLock<Vec<RsaKeyPair>> = LazyLock::new(|| {
    let parse = |pem: &&str| {
        let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        RsaKeyPair::from_der(&STANDARD.decode(text).expect("base64")).expect("a PKCS#1 key")
    };
    RSA_PEMS.iter().map(parse).collect()
});

impl Key {
    /// A key that no provider has ever published.
    pub fn stranger(alg: Alg) -> Self {
        Self { alg, generation: 0 }
    }

    pub fn kid(self) -> String {
        format!("{}-{}", self.alg.name().to_lowercase(), self.generation)
    }

    pub fn sign(self, message: &[u8]) -> Vec<u8> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa().public().modulus_len()];
            self.rsa().sign(encoding, &SystemRandom::new(), message, &mut signature).expect("RSA signs");
            signature
        };
        match self.alg {
            Alg::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Alg::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Alg::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Alg::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Alg::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Alg::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Alg::Es256 => {
                let signature: p256::ecdsa::Signature = self.p256().sign(message);
                signature.to_bytes().to_vec()
            }
            Alg::Es384 => {
                let signature: p384::ecdsa::Signature = self.p384().sign(message);
                signature.to_bytes().to_vec()
            }
            Alg::Es512 => {
                use p521::ecdsa::signature::Signer as _;
                let signature: p521::ecdsa::Signature = self.p521().sign(message);
                signature.to_bytes().to_vec()
            }
            Alg::EdDsa | Alg::Ed25519 => self.ed25519().sign(&Jws::EdDsa, message).expect("Ed25519 signs"),
        }
    }

    /// The public key as a member of a JWK set.
    pub fn jwk(self) -> Value {
        let mut jwk = match self.alg {
            Alg::Rs256 | Alg::Rs384 | Alg::Rs512 | Alg::Ps256 | Alg::Ps384 | Alg::Ps512 => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa().public());
                json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e) })
            }
            Alg::Es256 => ec_jwk("P-256", &self.p256().verifying_key().to_sec1_bytes()),
            Alg::Es384 => ec_jwk("P-384", &self.p384().verifying_key().to_sec1_bytes()),
            Alg::Es512 => {
                let key = p521::ecdsa::VerifyingKey::from(&self.p521());
                ec_jwk("P-521", key.to_encoded_point(false).as_bytes())
            }
            Alg::EdDsa | Alg::Ed25519 => json!(self.ed25519().as_verification_key()),
        };
        jwk["kid"] = json!(self.kid());
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.alg.name());
        jwk
    }

    /// The public key's text as an attacker would use it for an HMAC: RFC 7518 algorithm confusion.
    pub fn public_pem(self) -> String {
        let n = URL_SAFE_NO_PAD.decode(self.jwk()["n"].as_str().expect("an RSA key")).expect("base64url");
        // SubjectPublicKeyInfo of a 2048-bit RSA key with e = 65537: only the modulus varies.
        let mut der = hex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100");
        der.extend(n);
        der.extend(hex("0203010001"));
        let text = STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    fn rsa(self) -> &'static RsaKeyPair {
        match self.generation {
            0 => &RSA_KEYS[2],
            generation => &RSA_KEYS[usize::from(generation - 1) % 2],
        }
    }

    fn p256(self) -> p256::ecdsa::SigningKey {
        p256::ecdsa::SigningKey::from_slice(&[self.generation + 1; 32]).expect("a scalar")
    }

    fn p384(self) -> p384::ecdsa::SigningKey {
        p384::ecdsa::SigningKey::from_slice(&[self.generation + 1; 48]).expect("a scalar")
    }

    fn p521(self) -> p521::ecdsa::SigningKey {
        let mut scalar = [self.generation + 1; 66];
        scalar[0] = 0;
        p521::ecdsa::SigningKey::from_slice(&scalar).expect("a scalar")
    }

    fn ed25519(self) -> CoreEdDsaPrivateSigningKey {
        let mut der = hex("302e020100300506032b657004220420");
        der.extend([self.generation + 1; 32]);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
        CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(self.kid()))).expect("a PKCS#8 key")
    }
}

pub fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    CoreHmacKey::new(secret).sign(&Jws::HmacSha256, message).expect("HMAC signs")
}

fn ec_jwk(curve: &str, sec1: &[u8]) -> Value {
    let (x, y) = sec1[1..].split_at((sec1.len() - 1) / 2);
    json!({ "kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}
