//! The signing keys: ES256 (RFC 7518 section 3.4) over compact JWS (RFC 7515).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::Random;
use crate::protocol::jws::verify;
use crate::protocol::{Algorithm, JwsPolicy, KeySet};

/// How many keys are remembered: the one that signs, and those whose ID tokens still serve as hints.
const KEPT: usize = 4;
/// How many of them are published.
pub(super) const PUBLISHED: usize = 2;

/// The newest first; never empty.
pub(super) struct Keys(Vec<KeyPair>);

struct KeyPair {
    id: String,
    public: Value,
    private: SigningKey,
}

impl Keys {
    pub(super) fn generate(random: &Random) -> Self {
        Self(vec![KeyPair::generate(random)])
    }

    pub(super) fn rotate(&mut self, random: &Random) {
        self.0.insert(0, KeyPair::generate(random));
        self.0.truncate(KEPT);
    }

    /// The key set (RFC 7517 section 5).
    pub(super) fn newest(&self, count: usize) -> Value {
        json!({ "keys": self.0.iter().take(count).map(|key| &key.public).collect::<Vec<_>>() })
    }

    /// The claims as a JWT, signed with the newest key.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let key = &self.0[0];
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": key.id });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature: Signature = key.private.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The claims of a JWT that one of these keys signed.
    pub(super) fn open<T: DeserializeOwned>(&self, jwt: &str) -> Option<T> {
        let keys = KeySet::parse(self.newest(KEPT).to_string().as_bytes())?;
        let policy = JwsPolicy { algorithms: &[Algorithm::from_name("ES256")?], keys_are_new: false };
        let verified = verify(jwt, &keys, &["jwt"], &policy).ok()?;
        serde_json::from_value(Value::Object(verified.claims)).ok()
    }
}

impl KeyPair {
    fn generate(random: &Random) -> Self {
        // All but one in 2³² draws of 256 bits are a private key of P-256.
        let private = loop {
            if let Ok(key) = SigningKey::from_slice(&random.bytes::<32>()) {
                break key;
            }
        };
        // SEC 1 section 2.3.3, uncompressed: a 4, then both coordinates.
        let point = private.verifying_key().to_sec1_bytes();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        // RFC 7638 section 3: these members, in this order.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        let public = json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": id,
        });
        Self { id, public, private }
    }
}
