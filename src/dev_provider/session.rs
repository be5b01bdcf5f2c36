//! A browser's session at the development provider.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::Digest;
use sha2::Sha256;
use std::collections::HashMap;

use crate::clock::Timestamp;

#[derive(Clone)]
pub(super) struct DevSession {
    pub(super) sid: String,
    pub(super) person: Person,
    pub(super) auth_time: Timestamp,
    consents: HashMap<String, Vec<String>>,
}

impl DevSession {
    pub(super) fn new(sid: String, person: Person, auth_time: Timestamp) -> Self {
        Self { sid, person, auth_time, consents: HashMap::new() }
    }

    pub(super) fn has_granted(&self, client_id: &str, scopes: &[String]) -> bool {
        let granted = self.consents.get(client_id);
        granted.is_some_and(|granted| scopes.iter().all(|scope| granted.contains(scope)))
    }

    pub(super) fn grant(&mut self, client_id: &str, scopes: &[String]) {
        let granted = self.consents.entry(client_id.to_owned()).or_default();
        granted.retain(|scope| !scopes.contains(scope));
        // Clients are few and a request's scopes are counted, so this is all that could grow without end.
        granted.truncate(MAX_REMEMBERED_SCOPES);
        granted.extend_from_slice(scopes);
    }
}

/// Who signed in, by their own account.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) email: String,
    pub(super) admin: bool,
}

impl Person {
    /// The same for an e-mail in any case, and after every restart.
    pub(super) fn subject(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.email.to_lowercase()))
    }

    /// The part before the `@`.
    pub(super) fn name(&self) -> &str {
        self.email.split('@').next().unwrap_or_default()
    }
}

const MAX_REMEMBERED_SCOPES: usize = 64;
