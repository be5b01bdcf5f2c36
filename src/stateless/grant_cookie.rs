//! Where one grant lies in what a browser carries.

use std::sync::Arc;
use std::time::Duration;

use super::payload::GrantPayload;
use super::{JarContents, Stays, TooLarge, tag};
use crate::clock::Timestamp;
use crate::events::EventCode;
use crate::records::{ChunkedValue, CookieBinding, Grant, GrantKey, Owner, SealError, cookie_chunks};
use crate::secret::opaque;
use crate::sessions::Session;
use crate::state::Runtime;

/// A grant's cookies in one request, and in its answer.
#[derive(Clone)]
pub(crate) struct GrantCookie {
    jar: Arc<JarContents>,
    key: GrantCookieKey,
}

/// Whose cookies a grant's are.
#[derive(Clone)]
pub(super) struct GrantCookieKey {
    pub(super) grant_key: Arc<GrantKey>,
    /// The session with which the grant ends.
    session: Option<Arc<Session>>,
    until: Timestamp,
}

/// The grant is sealed with a secret, or in a format, that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl GrantCookieKey {
    /// How its cookies are named, and what their seals are bound to.
    pub(super) fn cookies(&self, runtime: &Runtime) -> &CookieBinding {
        let GrantKey { owner, client, connection, cookies, .. } = &*self.grant_key;
        cookies.get_or_init(|| runtime.grant_cookies(&self.id(), connection, owner, client))
    }

    /// After whom its cookies are named: the session, or the visitor, whose owner is the name already.
    fn id(&self) -> [u8; 32] {
        match (&self.session, &self.grant_key.owner) {
            (Some(session), _) => session.home_of(session.id).bytes(),
            (None, Owner::Visitor { id }) => *id,
            (None, Owner::User { .. } | Owner::Account { .. }) => [0; 32],
        }
    }

    /// Until when a grant is kept: as long as its session, and a visitor's for so long after they granted it, however often
    /// it is used.
    pub(super) fn until(&self, grant: &Grant, visitor_lifetime: Duration) -> Timestamp {
        match (&self.session, &grant.consent) {
            (None, Some(consent)) => self.until.min(consent.at.saturating_add(visitor_lifetime)),
            _ => self.until,
        }
    }

    /// What stays of a browser's cookies beside those of a session's grant.
    pub(super) fn stays(&self) -> Option<Stays> {
        let session = self.session.as_ref()?;
        Some(Stays { claims: tag(&session.id.bytes()), grants: tag(&self.id()) })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_ended())
    }
}

impl GrantCookie {
    /// Of a session's owner, or of a browser in which nobody is signed in.
    pub(crate) fn new(
        jar: &Arc<JarContents>, grant_key: &Arc<GrantKey>, session: Option<&Arc<Session>>, until: Timestamp,
    ) -> Self {
        let (grant_key, session) = (Arc::clone(grant_key), session.cloned());
        Self { jar: Arc::clone(jar), key: GrantCookieKey { grant_key, session, until } }
    }

    /// The claims that the browser shows beside it.
    pub(crate) fn claims(&self) -> Option<String> {
        self.jar.claims(self.session()?)?.claims()
    }

    /// The session with which the grant ends.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.key.session.as_ref()
    }

    /// Until when anything is kept for it.
    pub(crate) fn until(&self) -> Timestamp {
        self.key.until
    }

    /// Until when this grant is.
    pub(crate) fn until_of(&self, grant: &Grant) -> Timestamp {
        self.key.until(grant, self.jar.runtime.settings.visitor_lifetime)
    }

    /// What the browser has shown, and still counts.
    pub(crate) fn grant(&self, now: Timestamp) -> Result<Option<Arc<Grant>>, Unreadable> {
        let (runtime, key) = (&self.jar.runtime, &self.key);
        let Some(text) = self.text() else { return Ok(None) };
        if let Some((expires_at, grant)) = self.recall(&text) {
            return Ok(self.counts(expires_at, &grant, now).then_some(grant));
        }
        let opened = match key.cookies(runtime).open(&runtime.records.keys, &text) {
            Ok(opened) => opened,
            Err(SealError::Broken) => {
                let detail = "a grant's cookies do not open; they count as missing";
                runtime.events().emit(EventCode::Tampered, key.grant_key.owner.user(), detail);
                return Ok(None);
            }
            Err(SealError::UnknownKey | SealError::NewerFormat) => return Err(Unreadable),
        };
        let grant = postcard::from_bytes::<GrantPayload>(&opened.contents).ok();
        let grant = grant.map(|grant| Arc::new(grant.grant(&key.grant_key)));
        let Some(grant) = grant.filter(|grant| self.counts(opened.expires_at, grant, now)) else { return Ok(None) };
        if opened.by_first_secret {
            let known = (key.grant_key.row.key, opened.expires_at, Arc::clone(&grant));
            runtime.opened_grants.put(text.parts(), known);
        } else {
            self.note(&grant);
        }
        Ok(Some(grant))
    }

    /// The same, where it was opened before.
    pub(crate) fn recalled(&self, now: Timestamp) -> Option<Arc<Grant>> {
        let (expires_at, grant) = self.recall(&self.text()?)?;
        self.counts(expires_at, &grant, now).then_some(grant)
    }

    /// Whether what was sealed until then is still to be shown. A visitor's may have been sealed for longer than it is kept
    /// now.
    fn counts(&self, sealed_until: Timestamp, grant: &Grant, now: Timestamp) -> bool {
        now < sealed_until.min(self.until_of(grant))
    }

    fn recall(&self, text: &ChunkedValue<'_>) -> Option<(Timestamp, Arc<Grant>)> {
        let (row, expires_at, grant) = self.jar.runtime.opened_grants.get(text.parts())?;
        (row == self.key.grant_key.row.key).then_some((expires_at, grant))
    }

    fn text(&self) -> Option<ChunkedValue<'_>> {
        cookie_chunks::find(&self.key.cookies(&self.jar.runtime).name, self.jar.cookies.iter())
    }

    /// The browser shall carry this from now on.
    pub(crate) fn note(&self, grant: &Arc<Grant>) {
        let at = self.jar.runtime.now();
        let noted = PendingGrantCookie { key: self.key.clone(), grant: Arc::clone(grant), at };
        let mut answer = self.jar.answer.lock();
        let answer = answer.get_or_insert_default();
        if let Some(session) = self.session() {
            answer.learns(session);
        }
        match answer.grants.iter_mut().find(|noted| noted.key.grant_key.row.key == self.key.grant_key.row.key) {
            // What was read first may be noted last.
            Some(before) if before.grant.generation > noted.grant.generation => {}
            Some(before) => *before = noted,
            None => answer.grants.push(noted),
        }
    }

    /// Whether the browser can carry this beside what it has, less what is replaced.
    pub(crate) fn fits(&self, grant: &Grant, replaced: Option<&Self>) -> Result<(), TooLarge> {
        let less = replaced.map_or(0, |replaced| self.jar.has_of(&replaced.key)).cast_signed();
        self.jar.sealed_grant(&self.key, grant, -less).map(drop)
    }
}

opaque!(GrantCookie, |cookie| connection = cookie.key.grant_key.connection);

/// A grant that the browser shall carry from now on.
pub(super) struct PendingGrantCookie {
    pub(super) key: GrantCookieKey,
    pub(super) grant: Arc<Grant>,
    pub(super) at: Timestamp,
}
