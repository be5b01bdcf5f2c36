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
use crate::protocol::token::ClientAuthMethod;

/// So long an assertion may be used: while it is under way.
const LIFETIME: Duration = Duration::from_secs(60);

impl Provider {
    /// What proves this application at one request, as parameters of a form, each with `&` before it. Nothing where its id
    /// and its secret do. Each request has its own.
    pub(super) async fn proof(&self, method: ClientAuthMethod) -> Result<Zeroizing<String>, AssertionError> {
        let assertion = match method {
            ClientAuthMethod::PrivateKeyJwt => {
                let keys = self.client_keys().await?;
                let key = keys.first().ok_or(AssertionError::NoKey)?;
                key.jwt(&self.claims()).map_err(|_| AssertionError::Signature)?
            }
            ClientAuthMethod::ClientSecretJwt => {
                let secret = self.relying_party.client_secret.as_ref().ok_or(AssertionError::NoKey)?;
                let sign = |message: &[u8]| Ok(hs256(secret.expose_secret().as_bytes(), message));
                let signed = compact(&json!({ "alg": "HS256" }), &self.claims(), sign);
                signed.map_err(|_| AssertionError::Signature)?
            }
            ClientAuthMethod::AssertionFile => self.written_assertion().await?,
            _ => return Ok(Zeroizing::default()),
        };
        let assertion = Zeroizing::new(assertion);
        // RFC 7521 section 4.2. A JWT has no character that a form encodes.
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        Ok(Zeroizing::new(format!("&client_assertion_type={kind}&client_assertion={}", *assertion)))
    }

    /// RFC 7523 section 3.
    fn claims(&self) -> Value {
        let (client_id, now) = (&self.relying_party.client_id, self.clock.now());
        json!({
            "iss": client_id, "sub": client_id, "aud": self.relying_party.assertion_audience(),
            "jti": self.random.token(), "iat": now.as_secs(), "exp": now.saturating_add(LIFETIME).as_secs(),
        })
    }

    /// The private keys as they are now, the one that signs first. Where a file is being replaced, those that were there
    /// before go on.
    pub(crate) async fn client_keys(&self) -> Result<Vec<Arc<SigningKey>>, AssertionError> {
        let keys = Arc::clone(&self.relying_party.keys);
        let (keys, problem) = spawn_blocking(move || keys.newest()).await?;
        if let Some(problem) = problem {
            self.ignored(format_args!("{problem}"));
        }
        Ok(keys)
    }

    /// The assertion that the platform keeps in a file. It is read for each request: a file that was replaced counts at once.
    async fn written_assertion(&self) -> Result<String, AssertionError> {
        let path = self.relying_party.client_assertion_file.clone().unwrap_or_default();
        let shown = path.display().to_string();
        let wrong = |found| AssertionError::File { path: shown, found };
        let read = spawn_blocking(move || fs::read_to_string(path)).await?;
        let text = match read {
            Ok(text) => Zeroizing::new(text),
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        let is_jwt = |text: &str| {
            let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            text.split('.').count() == 3 && text.bytes().all(|byte| byte == b'.' || part(byte))
        };
        match text.trim() {
            "" => Err(wrong("is empty".to_owned())),
            text if is_jwt(text) => Ok(text.to_owned()),
            _ => Err(wrong("holds no JWT".to_owned())),
        }
    }
}
