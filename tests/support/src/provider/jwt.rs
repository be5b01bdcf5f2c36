//! A JWT before it is signed, open to every kind of mistake.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::keys::{Key, hmac_sha256};

/// What a lie edits: the parts, and how they are put together.
#[derive(Clone, Debug)]
pub struct Draft {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    /// Replaces the encoded header's JSON text.
    pub header_text: Option<String>,
    /// Replaces the encoded payload's JSON text.
    pub payload_text: Option<String>,
    pub seal: Seal,
    /// Applied to the finished compact form.
    pub reshape: Option<fn(String) -> String>,
}

#[derive(Clone, Debug)]
pub enum Seal {
    Sign(Key),
    /// Signed, then one bit of the signature changed.
    Spoiled(Key),
    /// HMAC-SHA-256 with these bytes.
    Hmac(Vec<u8>),
    /// An empty signature.
    Empty,
}

impl Draft {
    pub fn new(key: Key, claims: Value) -> Self {
        let Value::Object(claims) = claims else { panic!("claims are an object: {claims}") };
        let Value::Object(header) = json!({ "alg": key.alg.name(), "kid": key.kid() }) else { unreachable!() };
        Self { header, claims, header_text: None, payload_text: None, seal: Seal::Sign(key), reshape: None }
    }

    /// The key it would honestly be signed with.
    pub fn key(&self) -> Key {
        match self.seal {
            Seal::Sign(key) | Seal::Spoiled(key) => key,
            _ => panic!("no key signs this"),
        }
    }

    /// When it was issued: `iat`, untouched so far.
    pub fn now(&self) -> i64 {
        self.claims["iat"].as_i64().expect("an honest iat")
    }

    pub fn claim(&mut self, name: &str, value: impl Into<Value>) {
        self.claims.insert(name.to_owned(), value.into());
    }

    pub fn without(&mut self, name: &str) {
        self.claims.remove(name);
    }

    pub fn head(&mut self, name: &str, value: impl Into<Value>) {
        self.header.insert(name.to_owned(), value.into());
    }

    /// Signs with another key, and says so in the header.
    pub fn sign_with(&mut self, key: Key) {
        self.head("alg", key.alg.name());
        self.head("kid", key.kid());
        self.seal = Seal::Sign(key);
    }

    pub fn encode(self) -> String {
        let header = self.header_text.unwrap_or_else(|| Value::Object(self.header).to_string());
        let payload = self.payload_text.unwrap_or_else(|| Value::Object(self.claims).to_string());
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = match self.seal {
            Seal::Sign(key) => key.sign(message.as_bytes()),
            Seal::Spoiled(key) => {
                let mut signature = key.sign(message.as_bytes());
                signature[7] ^= 1;
                signature
            }
            Seal::Hmac(secret) => hmac_sha256(&secret, message.as_bytes()),
            Seal::Empty => Vec::new(),
        };
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        self.reshape.map_or_else(|| token.clone(), |reshape| reshape(token.clone()))
    }
}

/// The claims of a JWT, unverified.
pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("a JSON payload")
}
