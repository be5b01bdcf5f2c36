//! Where one grant lies in what a browser carries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::payload::CarriedGrant;
use super::{Carried, TooLarge, bound_grant};
use crate::clock::Timestamp;
use crate::events::EventCode;
use crate::records::cookie_chunks::Text;
use crate::records::grant::{Grant, Owner};
use crate::records::grant_key::{CookiesOfGrant, Spot};
use crate::records::seal::{Purpose, SealError};
use crate::records::sealed_cookie::TextPlace;
use crate::sessions::session::Session;
use crate::state::{Carrying, Runtime};

/// A grant's cookies in one request, and in its answer.
#[derive(Clone)]
pub(crate) struct CarriedPlace {
    carried: Arc<Carried>,
    home: Home,
}

/// Whose cookies a grant's are.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) spot: Arc<Spot>,
    pub(super) id: [u8; 32],
    /// The session with which the grant ends.
    session: Option<Arc<Session>>,
    until: Timestamp,
}

/// The grant is sealed with a secret, or in a format, that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Home {
    /// How its cookies are named, and what their seals are bound to.
    pub(super) fn cookies(&self, runtime: &Runtime) -> &CookiesOfGrant {
        let Self { spot, id, .. } = self;
        spot.cookies.get_or_init(|| CookiesOfGrant {
            name: runtime.grant_name(id, &spot.connection),
            bound: bound_grant(id, &spot.owner, &spot.client),
        })
    }

    /// Until when a grant is kept: as long as its session, and a visitor's for so long after they granted it, however often
    /// it is used.
    pub(super) fn until(&self, grant: &Grant, visitor_lifetime: Duration) -> Timestamp {
        match (&self.session, &grant.consent) {
            (None, Some(consent)) => self.until.min(consent.at.plus(visitor_lifetime)),
            _ => self.until,
        }
    }

    pub(super) fn of_session(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_ended())
    }
}

impl CarriedPlace {
    /// Of a session's owner.
    pub(crate) fn of_session(carried: &Arc<Carried>, session: &Arc<Session>, spot: &Arc<Spot>) -> Self {
        let home = Home {
            spot: Arc::clone(spot),
            id: session.id.bytes(),
            until: session.ends_at,
            session: Some(Arc::clone(session)),
        };
        Self { carried: Arc::clone(carried), home }
    }

    /// Of a browser in which nobody is signed in.
    pub(crate) fn of_visitor(carried: &Arc<Carried>, spot: &Arc<Spot>, until: Timestamp) -> Self {
        // Its owner is its name already.
        let id = match &spot.owner {
            Owner::Visitor { id } => *id,
            Owner::User { .. } | Owner::Account { .. } => [0; 32],
        };
        Self { carried: Arc::clone(carried), home: Home { spot: Arc::clone(spot), id, until, session: None } }
    }

    /// The session with which the grant ends.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.home.session.as_ref()
    }

    /// Until when anything is kept for it.
    pub(crate) fn until(&self) -> Timestamp {
        self.home.until
    }

    /// Until when this grant is.
    pub(crate) fn until_of(&self, grant: &Grant) -> Timestamp {
        self.home.until(grant, self.carried.runtime.settings.visitor_lifetime)
    }

    /// What the browser has shown, and still counts.
    pub(crate) fn grant(&self, now: Timestamp) -> Result<Option<Arc<Grant>>, Unreadable> {
        let (runtime, home) = (&self.carried.runtime, &self.home);
        let Some(carrying) = &runtime.carrying else { return Ok(None) };
        let place = self.text_place();
        let Some(text) = place.find(self.carried.cookies.iter()) else { return Ok(None) };
        if let Some((expires_at, grant)) = self.recall(carrying, &text) {
            return Ok(self.counts(expires_at, &grant, now).then_some(grant));
        }
        let opened = match place.open(runtime.records.keys(), &text) {
            Ok(opened) => opened,
            Err(SealError::Broken) => {
                let detail = "a grant's cookies do not open; they count as missing";
                runtime.events().emit(EventCode::Tampered, home.spot.owner.user(), detail);
                return Ok(None);
            }
            Err(SealError::UnknownKey | SealError::NewerFormat) => return Err(Unreadable),
        };
        let grant = postcard::from_bytes::<CarriedGrant>(&opened.contents).ok();
        let Some(grant) = grant.and_then(|grant| grant.grant(&home.spot)) else {
            return Ok(None);
        };
        let grant = Arc::new(grant);
        if !self.counts(opened.expires_at, &grant, now) {
            return Ok(None);
        }
        if opened.by_first_secret {
            carrying.grants.put(text.parts(), (home.spot.row.key, opened.expires_at, Arc::clone(&grant)));
        } else {
            self.note(&grant);
        }
        Ok(Some(grant))
    }

    /// The same, where it was opened before.
    pub(crate) fn recalled(&self, now: Timestamp) -> Option<Arc<Grant>> {
        let carrying = self.carried.runtime.carrying.as_ref()?;
        let text = self.text_place().find(self.carried.cookies.iter())?;
        let (expires_at, grant) = self.recall(carrying, &text)?;
        self.counts(expires_at, &grant, now).then_some(grant)
    }

    /// Whether what was sealed until then is still to be shown. A visitor's may have been sealed for longer than it is kept
    /// now.
    fn counts(&self, sealed_until: Timestamp, grant: &Grant, now: Timestamp) -> bool {
        now < sealed_until.min(self.until_of(grant))
    }

    fn recall(&self, carrying: &Carrying, text: &Text<'_>) -> Option<(Timestamp, Arc<Grant>)> {
        let (row, expires_at, grant) = carrying.grants.get(text.parts())?;
        (row == self.home.spot.row.key).then_some((expires_at, grant))
    }

    fn text_place(&self) -> TextPlace<'_> {
        let CookiesOfGrant { name, bound } = self.home.cookies(&self.carried.runtime);
        TextPlace { purpose: Purpose::CarriedGrant, name, owner: bound }
    }

    /// The browser shall carry this from now on.
    pub(crate) fn note(&self, grant: &Arc<Grant>) {
        let at = self.carried.runtime.now();
        let noted = Noted { home: self.home.clone(), grant: Arc::clone(grant), at };
        let mut answer = self.carried.answer();
        let answer = answer.get_or_insert_default();
        if let Some(session) = self.session() {
            answer.learns(session);
        }
        match answer.grants.iter_mut().find(|noted| noted.home.spot.row.key == self.home.spot.row.key) {
            // What was read first may be noted last.
            Some(before) if before.grant.generation > noted.grant.generation => {}
            Some(before) => *before = noted,
            None => answer.grants.push(noted),
        }
    }

    /// Whether the browser can carry this beside what it has.
    pub(crate) fn fits(&self, grant: &Grant) -> Result<(), TooLarge> {
        self.carried.sealed_grant(&self.home, grant, 0).map(drop)
    }
}

impl fmt::Debug for CarriedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarriedPlace").field("connection", &self.home.spot.connection).finish_non_exhaustive()
    }
}

/// A grant that the browser shall carry from now on.
pub(super) struct Noted {
    pub(super) home: Home,
    pub(super) grant: Arc<Grant>,
    pub(super) at: Timestamp,
}
