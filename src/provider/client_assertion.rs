//! Client assertions (RFC 7523 section 2.2, OpenID Connect Core 1.0 section 9): the application proves itself, and sends no
//! secret.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::Provider;
use super::error::AssertionError;
use super::private_key::{SigningKey, compact, hs256};
use crate::protocol::ClientAuthMethod;

/// So long an assertion may be used: while it is under way.
const LIFETIME: Duration = Duration::from_secs(60);

impl Provider {
    /// The client assertion of one request (RFC 7521 section 4.2), as parameters of a form, each with `&` before it. Empty for a
    /// method without one. Each request has its own.
    pub(super) async fn proof(&self, method: ClientAuthMethod) -> Result<Zeroizing<String>, AssertionError> {
        let assertion = match method {
            ClientAuthMethod::PrivateKeyJwt | ClientAuthMethod::SignedClientSecret => {
                let keys = self.client_keys().await;
                keys.first().and_then(|key| key.jwt(&self.claims()).ok())
            }
            ClientAuthMethod::ClientSecretJwt => {
                let secret = self.relying_party.client_secret.clone().unwrap_or_default();
                let sign = |message: &[u8]| Ok(hs256(secret.expose_secret().as_bytes(), message));
                compact(&json!({ "alg": "HS256" }), &self.claims(), sign).ok()
            }
            ClientAuthMethod::AssertionFile => Some(self.written_assertion().await?),
            _ => return Ok(Zeroizing::default()),
        };
        let assertion = Zeroizing::new(assertion.ok_or(AssertionError::NoKey)?);
        if method == ClientAuthMethod::SignedClientSecret {
            return Ok(Zeroizing::new(format!("&client_secret={}", *assertion)));
        }
        // RFC 7521 section 4.2. A JWT has no character that a form encodes.
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        Ok(Zeroizing::new(format!("&client_assertion_type={kind}&client_assertion={}", *assertion)))
    }

    /// RFC 7523 section 3.
    fn claims(&self) -> Value {
        let (client_id, now) = (&self.relying_party.client_id, self.clock.now());
        let issuer = self.relying_party.client_assertion_issuer.as_ref().unwrap_or(client_id);
        // The issuer, because no other provider can make this application send it an assertion that counts here
        // (draft-ietf-oauth-rfc7523bis).
        let audience = self.relying_party.client_assertion_audience.as_ref();
        let audience = audience.unwrap_or(&self.relying_party.response_issuer.url);
        json!({
            "iss": issuer, "sub": client_id, "aud": audience, "jti": self.random.token(),
            "iat": now.as_secs(), "exp": now.saturating_add(LIFETIME).as_secs(),
        })
    }

    /// The private keys as they are now, the one that signs first. Where a file is being replaced, those that were there
    /// before go on.
    pub(crate) async fn client_keys(&self) -> Vec<Arc<SigningKey>> {
        let (keys, now) = (Arc::clone(&self.relying_party.keys), self.clock.now());
        let (keys, problem) = spawn_blocking(move || keys.newest(now)).await.unwrap_or_default();
        problem.into_iter().for_each(|problem| self.ignored(format_args!("{problem}")));
        keys
    }

    /// The assertion that the platform keeps in a file. It is read for each request: a file that was replaced counts at once.
    async fn written_assertion(&self) -> Result<String, AssertionError> {
        let path = self.relying_party.client_assertion_file.clone().unwrap_or_default();
        let wrong = |found| AssertionError::File(path.display().to_string(), found);
        let file = path.clone();
        let read = spawn_blocking(move || fs::read_to_string(file)).await.unwrap_or_else(|end| Err(end.into()));
        let text = read.map(Zeroizing::new).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let is_in_jwt = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match text.trim() {
            "" => Err(wrong("is empty".to_owned())),
            jwt if jwt.split('.').count() == 3 && jwt.bytes().all(is_in_jwt) => Ok(jwt.to_owned()),
            _ => Err(wrong("holds no JWT".to_owned())),
        }
    }
}
