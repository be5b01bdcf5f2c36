//! Where one grant lies in what a browser carries.

use std::fmt;
use std::sync::Arc;

use super::answer::Noted;
use super::contents::CarriedGrant;
use super::texts::TextPlace;
use super::{Carried, TooLarge, bound_grant};
use crate::ambient::Timestamp;
use crate::events::EventCode;
use crate::grant::{Grant, Owner};
use crate::records::GrantPlace;
use crate::runtime::Runtime;
use crate::seal::{Purpose, SealError};
use crate::session::Session;
use crate::store::Key;

/// A grant's cookies in one request, and in its answer.
#[derive(Clone)]
pub(crate) struct CarriedPlace {
    carried: Arc<Carried>,
    home: Arc<Home>,
}

/// Whose cookies a grant's are, and how they are named.
pub(super) struct Home {
    pub(super) id: [u8; 32],
    pub(super) owner: Owner,
    /// The session with which the grant ends.
    session: Option<Arc<Session>>,
    pub(super) connection: String,
    /// Who granted it.
    issuer: String,
    row: Key,
    pub(super) until: Timestamp,
}

/// The grant is sealed with a secret, or in a format, that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Home {
    pub(super) fn name(&self, runtime: &Runtime) -> String {
        runtime.grant_name(&self.id, &self.connection)
    }

    pub(super) fn bound(&self) -> Vec<u8> {
        bound_grant(&self.id, &self.owner, &self.issuer)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_ended())
    }
}

impl CarriedPlace {
    /// Of a session's owner.
    pub(crate) fn of_session(carried: &Arc<Carried>, session: &Arc<Session>, place: &GrantPlace) -> Self {
        let issuer = &carried.runtime.provider_of(place).relying_party.issuer;
        let home = Home {
            id: session.id.bytes(),
            owner: session.owner(),
            until: session.ends_at,
            session: Some(Arc::clone(session)),
            connection: place.connection.clone(),
            issuer: issuer.clone(),
            row: place.row.key,
        };
        Self { carried: Arc::clone(carried), home: Arc::new(home) }
    }

    /// Of a browser in which nobody is signed in.
    pub(crate) fn of_visitor(carried: &Arc<Carried>, place: &GrantPlace, until: Timestamp) -> Self {
        let issuer = &carried.runtime.provider_of(place).relying_party.issuer;
        let home = Home {
            // Its owner is its name already.
            id: match &place.owner {
                Owner::Visitor { id } => *id,
                Owner::User { .. } | Owner::Account { .. } => [0; 32],
            },
            owner: place.owner.clone(),
            until,
            session: None,
            connection: place.connection.clone(),
            issuer: issuer.clone(),
            row: place.row.key,
        };
        Self { carried: Arc::clone(carried), home: Arc::new(home) }
    }

    /// Until when anything is kept for it.
    pub(crate) fn until(&self) -> Timestamp {
        self.home.until
    }

    /// What the browser has shown.
    pub(crate) fn grant(&self) -> Result<Option<Arc<Grant>>, Unreadable> {
        let (runtime, home) = (&self.carried.runtime, &self.home);
        let Some(carrying) = &runtime.carrying else { return Ok(None) };
        let (name, bound) = (home.name(runtime), home.bound());
        let place = TextPlace { purpose: Purpose::CarriedGrant, name: &name, owner: &bound };
        let Some((count, text)) = place.find(self.carried.cookies()) else { return Ok(None) };
        if let Some((row, grant)) = carrying.grants.get(&text)
            && row == home.row
        {
            return Ok(Some(grant));
        }
        let opened = match place.open(runtime.records.keys(), count, &text) {
            Ok(opened) => opened,
            Err(SealError::Broken) => {
                let detail = "a grant's cookies do not open; they count as missing";
                runtime.events().emit(EventCode::Tampered, home.owner.user(), detail);
                return Ok(None);
            }
            Err(SealError::UnknownKey | SealError::NewerFormat) => return Err(Unreadable),
        };
        if opened.expires_at <= runtime.now() {
            return Ok(None);
        }
        let grant = postcard::from_bytes::<CarriedGrant>(&opened.contents).ok();
        let Some(grant) = grant.and_then(|grant| grant.grant(&home.owner, &home.connection)) else {
            return Ok(None);
        };
        let grant = Arc::new(grant);
        if opened.by_first_secret {
            carrying.grants.put(&text, (home.row, Arc::clone(&grant)));
        } else {
            self.note(&grant);
        }
        Ok(Some(grant))
    }

    /// The browser shall carry this from now on.
    pub(crate) fn note(&self, grant: &Arc<Grant>) {
        let at = self.carried.runtime.now();
        let noted = Noted { home: Arc::clone(&self.home), grant: Arc::clone(grant), at };
        let mut answer = self.carried.answer();
        match answer.grants.iter_mut().find(|noted| noted.home.row == self.home.row) {
            // What was read first may be noted last.
            Some(before) if before.grant.generation > noted.grant.generation => {}
            Some(before) => *before = noted,
            None => answer.grants.push(noted),
        }
    }

    /// Whether the browser can carry this beside what it has.
    pub(crate) fn fits(&self, grant: &Grant) -> Result<(), TooLarge> {
        self.carried.sealed_grant(&self.home, grant).map(drop)
    }
}

impl fmt::Debug for CarriedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarriedPlace").field("connection", &self.home.connection).finish_non_exhaustive()
    }
}
