//! Where grants lie, worked out once for a session: names are keyed hashes, and a request is not the place for those.

use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::ambient::Timestamp;
use crate::carried::CarriedPlace;
use crate::changes::{Changes, Place};
use crate::grant::{Grant, Owner};
use crate::records::{IndexKey, Row};
use crate::relying_party::ProviderId;

/// A grant's row, and whose it must be.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) row: Row,
    pub(crate) owner: Owner,
    pub(crate) provider: ProviderId,
    pub(crate) connection: String,
    /// Its cookies, where browsers carry their grants.
    pub(crate) cookies: OnceLock<CookiesOfGrant>,
    pub(crate) newest: Newest,
}

impl Spot {
    /// For its refreshes not to fall together with everybody else's.
    pub(crate) fn spread(&self) -> u8 {
        self.row.key.0[1]
    }
}

/// What was read of a row that lies beside what browsers carry, for as long as it may be believed.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<Option<Read>>);

/// There was nothing newer than this generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) generation: u64,
    pub(crate) until: Timestamp,
    /// What was known of changes before the store was asked.
    pub(crate) heard: u64,
}

impl Newest {
    pub(crate) fn put(&self, read: Read) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    /// The generation; `None` where the store must be asked.
    pub(crate) fn generation(&self, place: Place, changes: &Changes, now: Timestamp) -> Option<u64> {
        let read = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        (now < read.until && !changes.since(read.heard, place)).then_some(read.generation)
    }
}

/// How a grant's cookies are named, and what their seals are bound to.
#[derive(Debug)]
pub(crate) struct CookiesOfGrant {
    pub(crate) name: String,
    pub(crate) bound: Vec<u8>,
}

/// Where one grant lies for one request.
#[derive(Clone, Debug)]
pub(crate) struct GrantPlace {
    spot: Arc<Spot>,
    /// Where browsers carry their grants: the row is where processes meet.
    pub(crate) carried: Option<CarriedPlace>,
}

impl Deref for GrantPlace {
    type Target = Spot;

    fn deref(&self) -> &Spot {
        &self.spot
    }
}

impl GrantPlace {
    pub(crate) fn new(spot: Arc<Spot>, carried: Option<CarriedPlace>) -> Self {
        Self { spot, carried }
    }

    /// Where the browser carries the grant: it carries this one from now on, if it is newer than the one before.
    pub(crate) fn note(&self, before: &Grant, grant: &Arc<Grant>) {
        if let Some(carried) = self.carried.as_ref().filter(|_| grant.generation > before.generation) {
            carried.note(grant);
        }
    }

    /// For events.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        self.owner.user()
    }
}

/// The spots of one session, or of the account, as they come to be asked for: one for each connection.
#[derive(Default)]
pub(crate) struct Spots(OnceLock<Box<Mutex<Vec<(IndexKey, Arc<Spot>)>>>>);

impl Spots {
    /// The spot of a connection, as rows are named under this key.
    pub(crate) fn get(&self, index: &IndexKey, connection: &str, make: impl FnOnce() -> Spot) -> Arc<Spot> {
        let known = self.0.get_or_init(Box::default);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((named_by, spot)) = known.iter().find(|(_, spot)| spot.connection == connection)
            && named_by == index
        {
            return Arc::clone(spot);
        }
        // A store that came back empty may name its rows anew.
        known.retain(|(named_by, _)| named_by == index);
        let spot = Arc::new(make());
        known.push((index.clone(), Arc::clone(&spot)));
        spot
    }
}
