//! Who is signed in.

use serde::{Deserialize, Serialize};

use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::protocol::jws::Algorithm;
use crate::records::grant::Owner;

/// Who is signed in, where and until when: what a session's record and its cookie have in common. A cookie is opened at
/// every request, and so this is no more than every request may need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionPayload {
    pub(crate) issuer: Box<str>,
    pub(crate) subject: Box<str>,
    /// The provider's sessions (OpenID Connect Back-Channel Logout 1.0 section 2.1) whose ID tokens came for it, the
    /// newest last.
    pub(crate) sids: Vec<String>,
    pub(crate) auth_time: Option<u64>,
    /// The ID token's `iat`: when it began, by the provider's clock.
    pub(crate) issued_at: u64,
    /// When its login began here, with the authorization request, and when that was finished.
    pub(crate) began_at: Timestamp,
    pub(crate) stored_at: Timestamp,
    /// The algorithms of its ID tokens' signatures.
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) acr: Option<Box<str>>,
    /// What a logout link must carry.
    pub(crate) logout_token: [u8; 16],
    pub(crate) ends_at: Timestamp,
    /// The first session of this person in this browser, after which the grants of all that replaced it are named; `None`
    /// for that one itself.
    pub(crate) home: Option<[u8; 32]>,
}

impl SessionPayload {
    pub(crate) fn user(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    /// The session after which the grants of this one are named.
    pub(crate) fn home_of(&self, id: SessionId) -> SessionId {
        self.home.map_or(id, SessionId::new)
    }

    /// Whose grants are this session's.
    pub(crate) fn owner(&self) -> Owner {
        Owner::User { issuer: self.issuer.to_string(), subject: self.subject.to_string() }
    }
}
