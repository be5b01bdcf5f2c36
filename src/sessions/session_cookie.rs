//! Sessions that browsers keep themselves: sealed into one small cookie, and opened at every request.

use super::session::{Session, SessionCookie};
use super::session_id::SessionId;
use crate::clock::Timestamp;
use crate::events::{EventCode, Events};
use crate::records::{ChunkedValue, CookieBinding, OpenedCache, Purpose, Records, SealError, cookie_chunks};

/// The most that is kept of opened cookies, in bytes. What is forgotten costs an opening, a few microseconds.
const RECALLED: u64 = 64 * 1024 * 1024;

/// What this process has opened.
pub(crate) struct SessionCookies {
    place: CookieBinding,
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
        let place = CookieBinding { purpose: Purpose::CarriedSession, name: cookie.to_owned(), owner: Vec::new() };
        Self { place, opened: OpenedCache::new(RECALLED), events }
    }

    /// A cookie's value. A session is one cookie.
    pub(crate) fn text(value: &[u8]) -> Option<ChunkedValue<'_>> {
        cookie_chunks::join(std::iter::once((0, value)))
    }

    /// What a cookie was found to be before, if it was opened before.
    pub(crate) fn recall(&self, cookie: &ChunkedValue<'_>) -> Option<OpenedSession> {
        self.opened.get(cookie.parts())
    }

    /// The session in a cookie; `None` where it is none or over.
    pub(crate) fn open(
        &self, cookie: &ChunkedValue<'_>, records: &Records, now: Timestamp,
    ) -> Option<(OpenedSession, Session)> {
        let opened = match self.place.open(&records.keys, cookie) {
            Ok(opened) => opened,
            Err(SealError::Broken) => {
                let detail = "a session's cookie does not open; it counts as missing";
                self.events.emit(EventCode::Tampered, None, detail);
                return None;
            }
            // Signed out until the secret is back.
            Err(SealError::UnknownKey | SealError::NewerFormat) => return None,
        };
        let held: SessionCookie = postcard::from_bytes(&opened.contents).ok()?;
        let id = SessionId::new(held.id);
        let shown = OpenedSession { id, expires_at: opened.expires_at, outdated_seal: !opened.by_first_secret };
        if now >= shown.expires_at {
            return None;
        }
        self.opened.put(cookie.parts(), shown);
        Some((shown, Session::carried(held, id.row(&records.keys).key, now)))
    }

    pub(crate) fn forget_over(&self, now: Timestamp) {
        self.opened.retain(|opened| now < opened.expires_at);
    }
}
