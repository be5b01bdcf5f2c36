//! Sessions that browsers keep themselves: sealed into one small cookie, and opened at every request.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::provider_sessions::ProviderSessions;
use super::session::{NEVER, Profile, Session, SessionLiveness, SessionRecord};
use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::events::{EventCode, Events};
use crate::records::Records;
use crate::records::cookie_chunks::{ChunkedValue, Chunks};
use crate::records::grant_key::GrantKeyCache;
use crate::records::opened_cache::OpenedCache;
use crate::records::seal::{Purpose, SealError};
use crate::records::sealed_cookie::CookieBinding;
use crate::store::Key;

/// So many cookies of sessions need not be opened again. What is forgotten costs an opening, a few microseconds.
const RECALLED: u64 = 100_000;

/// What this process has opened.
pub(crate) struct SessionCookies {
    cookie: String,
    opened: OpenedCache<OpenedSession>,
    events: Events,
}

/// A session's cookie, opened.
#[derive(Clone, Copy)]
pub(crate) struct OpenedSession {
    pub(crate) id: SessionId,
    pub(crate) expires_at: Timestamp,
    /// Sealed by a secret that only opens.
    pub(crate) outdated_seal: bool,
}

impl SessionCookies {
    pub(crate) fn new(cookie: &str, events: Events) -> Self {
        Self { cookie: cookie.to_owned(), opened: OpenedCache::new(RECALLED), events }
    }

    /// A cookie's value. A session is one cookie.
    pub(crate) fn text(value: &[u8]) -> Option<ChunkedValue<'_>> {
        let mut chunks = Chunks::default();
        chunks.put(0, value);
        chunks.join()
    }

    /// What a cookie was found to be before, if it was opened before.
    pub(crate) fn recall(&self, cookie: &ChunkedValue<'_>) -> Option<OpenedSession> {
        self.opened.get(cookie.parts())
    }

    /// The session in a cookie; `None` where it is none or over.
    pub(crate) fn open(
        &self,
        cookie: &ChunkedValue<'_>,
        records: &Records,
        now: Timestamp,
    ) -> Option<(OpenedSession, Session)> {
        let opened = match self.place().open(records.keys(), cookie) {
            Ok(opened) => opened,
            Err(SealError::Broken) => {
                let detail = "a session's cookie does not open; it counts as missing";
                self.events.emit(EventCode::Tampered, None, detail);
                return None;
            }
            // Signed out until the secret is back.
            Err(SealError::UnknownKey | SealError::NewerFormat) => return None,
        };
        let identity: SessionPayload = postcard::from_bytes(&opened.contents).ok()?;
        let id = SessionId::new(identity.id);
        let shown =
            OpenedSession { id, expires_at: opened.expires_at, outdated_seal: !opened.by_first_secret };
        if now >= shown.expires_at {
            return None;
        }
        self.opened.put(cookie.parts(), shown);
        Some((shown, Session::carried(identity, id.row(records.keys()).key, now)))
    }

    fn place(&self) -> CookieBinding<'_> {
        CookieBinding { purpose: Purpose::CarriedSession, name: &self.cookie, owner: &[] }
    }
}

/// Who is signed in: opened at every request, and so no more than every request may need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionPayload {
    pub(crate) id: [u8; 32],
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// For logout tokens (OpenID Connect Back-Channel Logout 1.0 section 2.1).
    pub(crate) sids: Vec<String>,
    pub(crate) auth_time: Option<u64>,
    /// When it began, by the provider's clock.
    pub(crate) issued_at: u64,
    pub(crate) acr: Option<String>,
    pub(crate) logout_token: [u8; 16],
    pub(crate) ends_at: Timestamp,
    pub(crate) email: Option<String>,
    pub(crate) email_verified: bool,
    pub(crate) name: Option<String>,
    pub(crate) nickname: Option<String>,
}

impl SessionPayload {
    pub(crate) fn new(id: [u8; 32], record: &SessionRecord, profile: &Profile) -> Self {
        let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            id,
            issuer: record.issuer.clone(),
            subject: record.subject.clone(),
            sids: record.sids.clone(),
            auth_time: record.auth_time,
            issued_at: record.issued_at,
            acr: record.acr.clone(),
            logout_token: record.logout_token,
            ends_at: record.ends_at,
            email: owned(&profile.email),
            email_verified: profile.email_verified,
            name: owned(&profile.name),
            nickname: owned(&profile.nickname),
        }
    }
}

impl Session {
    /// Of a browser that keeps its session itself, and which nobody has asked yet whether it ended.
    pub(crate) fn carried(identity: SessionPayload, row: Key, now: Timestamp) -> Self {
        let profile = Profile {
            email: identity.email.map(Into::into),
            email_verified: identity.email_verified,
            name: identity.name.map(Into::into),
            nickname: identity.nickname.map(Into::into),
        };
        let id = SessionId::new(identity.id);
        let provider_sessions = ProviderSessions::new(identity.sids, identity.issued_at);
        Self {
            id,
            issuer: identity.issuer.into(),
            subject: identity.subject.into(),
            acr: identity.acr.map(Into::into),
            auth_time: identity.auth_time,
            claims: OnceLock::new(),
            logout_token: identity.logout_token,
            ends_at: identity.ends_at,
            profile: OnceLock::from(Box::new(profile)),
            all_claims: OnceLock::new(),
            provider_sessions: Some(Box::new(provider_sessions)),
            grant_keys: GrantKeyCache::default(),
            liveness: SessionLiveness::new(row, NEVER, now, now),
        }
    }
}
