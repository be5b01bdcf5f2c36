//! Client assertions (RFC 7523 section 3): what a client shows in place of its secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey, PrivateSigningKey, core::CoreHmacKey};
use serde_json::{Value, json};

use super::LyingProvider;
use super::state::State;
use crate::net::lock;
use crate::params::Params;

/// An assertion that came, and whether it proved its client.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The path of the endpoint.
    pub at: String,
    pub compact: String,
    pub header: Value,
    pub claims: Value,
    pub refused: Option<&'static str>,
}

const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl State {
    /// The client that an assertion proves, and the method (a name of OpenID Connect Core section 9).
    pub(super) fn asserted(
        &mut self, at: &str, params: &Params, compact: &str,
    ) -> Result<(String, &'static str), &'static str> {
        let (header, claims) = (part(compact, 0), part(compact, 1));
        let checked = self.check(params, compact, &header, &claims);
        let (at, compact, refused) = (at.to_owned(), compact.to_owned(), checked.as_ref().err().copied());
        self.log.assertions.push(Assertion { at, compact, header, claims, refused });
        checked
    }

    /// The client that a secret proves which a key of its team has signed ("Creating a client secret", in the documentation
    /// of Sign in with Apple).
    pub(super) fn signed_secret(
        &mut self, team: &str, params: &Params, compact: &str,
    ) -> Result<(String, &'static str), &'static str> {
        const SIX_MONTHS: u64 = 15_777_000;
        let (header, claims) = (part(compact, 0), part(compact, 1));
        let client_id = params.get("client_id").unwrap_or_default();
        if [&claims["iss"], &claims["sub"], &claims["aud"]] != [team, client_id, &self.issuer] {
            return Err("another team, client or audience");
        }
        let (now, expires_at) = (self.now(), claims["exp"].as_u64().unwrap_or_default());
        if expires_at <= now || expires_at > now + SIX_MONTHS || !claims["iat"].is_u64() {
            return Err("not valid now, or for too long");
        }
        self.verify(client_id, compact, &header)?;
        let (at, compact) = ("/auth/token".to_owned(), compact.to_owned());
        self.log.assertions.push(Assertion { at, compact, header, claims, refused: None });
        Ok((client_id.to_owned(), "client_secret_post"))
    }

    fn check(
        &mut self, params: &Params, compact: &str, header: &Value, claims: &Value,
    ) -> Result<(String, &'static str), &'static str> {
        if params.get("client_assertion_type") != Some(KIND) || params.has("client_secret") {
            return Err("another type, or a secret beside it");
        }
        let client_id = claims["sub"].as_str().ok_or("no sub")?;
        if claims["iss"] != client_id || params.get("client_id").is_some_and(|other| other != client_id) {
            return Err("iss, sub and client_id are not the same");
        }
        let audience = self.settings.assertion_audience.as_ref().unwrap_or(&self.issuer);
        if claims["aud"] != json!(audience) {
            return Err("another audience");
        }
        let (now, number) = (self.now(), |name: &str| claims[name].as_u64().ok_or("a moment is missing"));
        if number("exp")? <= now || number("exp")? > now + 60 || number("iat")? > now {
            return Err("not valid now, or for too long");
        }
        let method = self.verify(client_id, compact, header)?;
        let jti = claims["jti"].as_str().ok_or("no jti")?.to_owned();
        if jti.len() < 16 || !(self.seen_assertions.insert(jti) || self.settings.reusable_assertions) {
            return Err("seen before");
        }
        Ok((client_id.to_owned(), method))
    }

    fn verify(&self, client_id: &str, compact: &str, header: &Value) -> Result<&'static str, &'static str> {
        let (message, signature) = compact.rsplit_once('.').ok_or("no JWT")?;
        let signature = &URL_SAFE_NO_PAD.decode(signature).map_err(|_| "no signature")?;
        let algorithm: &CoreJwsSigningAlgorithm =
            &serde_json::from_value(header["alg"].clone()).map_err(|_| "an unknown algorithm")?;
        if *algorithm == CoreJwsSigningAlgorithm::HmacSha256 {
            let secret = self.clients.get(client_id).cloned().flatten().ok_or("no secret is known")?;
            let key = CoreHmacKey::new(secret.into_bytes()).as_verification_key();
            let holds = key.verify_signature(algorithm, message.as_bytes(), signature);
            return holds.map(|()| "client_secret_jwt").map_err(|_| "the keyed hash does not hold");
        }
        let keys = self.client_keys.get(client_id).ok_or("no keys are known")?;
        let key = keys.iter().find(|key| key["kid"] == header["kid"]).ok_or("an unknown key")?;
        if key["alg"] != header["alg"] || key["use"] != "sig" {
            return Err("a key for another algorithm");
        }
        let key: CoreJsonWebKey = serde_json::from_value(key.clone()).map_err(|_| "the key cannot be read")?;
        let holds = key.verify_signature(algorithm, message.as_bytes(), signature);
        holds.map(|()| "private_key_jwt").map_err(|_| "the signature does not hold")
    }
}

/// A part of a JWT; null where it is none.
fn part(compact: &str, index: usize) -> Value {
    let decoded = compact.split('.').nth(index).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    decoded.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

impl LyingProvider {
    /// Knows this client by the keys of this document (RFC 7517 section 5), in place of those before.
    pub fn register_keys(&self, client_id: &str, key_set: &Value) {
        let keys = key_set["keys"].as_array().expect("a key set").clone();
        let mut state = lock(&self.state);
        state.clients.entry(client_id.to_owned()).or_insert_with(|| None);
        state.client_keys.insert(client_id.to_owned(), keys);
    }

    pub fn assertions(&self) -> Vec<Assertion> {
        lock(&self.state).log.assertions.clone()
    }
}
