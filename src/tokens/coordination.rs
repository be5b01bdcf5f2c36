//! Where processes meet that keep no grants: the rows beside what browsers carry.
//!
//! A row is written before a refresh token is spent and with what came for it, is there for late requests with older
//! cookies, and goes a while after its browser has shown the same. What a person took back is noted until nobody can
//! show it any more.

use std::sync::Arc;

use super::locate::GrantRef;
use crate::clock::Timestamp;
use crate::config::GrantLifetime;
use crate::records::{FOREVER, Found, Grant, GrantStatus, Loaded};
use crate::stateless::{GRACE, response_cookies};
use crate::store::{StoreError, Version};

impl GrantRef {
    /// The browser has shown what lies there: the row is kept for late requests only, and not for long. Returns until
    /// when there is nothing to do about it, unless it changes.
    pub(crate) fn let_go(&self, found: &Found<Grant>, now: Timestamp) -> Timestamp {
        let (grant, expires_at) = (&found.value, now.saturating_add(GRACE));
        let newest = grant.token_sets.iter().map(|set| set.issued_at).max().unwrap_or_default();
        // An answer with what was the newest a moment ago may still be on its way: what the browser shows once that has
        // come is what it has.
        let settled = newest.saturating_add(2 * response_cookies::SETS_WITHIN);
        // Whoever holds a lease writes again, and after a refusal the row says how long it lasts.
        if grant.lease.is_some() || grant.hold.is_some() || grant.status == GrantStatus::Revoked {
            return now;
        }
        if now < settled {
            return settled;
        }
        // What it replaced must never count again: the row says so until no cookie of that can be shown.
        if found.expires_at <= expires_at || grant.replaces {
            return FOREVER;
        }
        let (runtime, row) = (Arc::clone(&self.runtime), self.row.clone());
        let (grant, version) = (grant.clone(), found.version);
        self.runtime.tasks.spawn(async move {
            // If somebody was faster, or the store is away, the next request sees to it.
            let written = runtime.records.swap(&row, Some(version), &grant, expires_at, Vec::new()).await;
            if matches!(written, Ok(Some(_))) {
                runtime.sweep_in_time();
            }
        });
        now
    }

    /// The newest generation of what can be read, whatever its standing, and the version of the row.
    pub(crate) async fn newest(&self) -> Result<(Option<Arc<Grant>>, Option<Version>), StoreError> {
        let shown = self.shown(self.runtime.now()).ok().flatten();
        let (kept, version) = match self.load(shown.as_ref()).await? {
            Loaded::Found(found) => (Some(Arc::new(found.value)), Some(found.version)),
            Loaded::Absent(version) => (None, version),
            Loaded::Unreadable => (None, self.runtime.records.version(self.row.key).await?),
        };
        let kept = kept.filter(|grant| self.holds(grant));
        if let Some(kept) = &kept {
            self.newest.forget_below(kept.generation);
        }
        // Of two that are the same generation the last one: the row knows who refreshes it.
        Ok((shown.into_iter().chain(kept).max_by_key(|grant| grant.generation), version))
    }

    /// Keeps what its owner has granted now, until then. The newest consent wins over whatever lies there; where it brought no
    /// refresh token, the one there stays.
    pub(crate) async fn keep(&self, grant: Grant, until: Timestamp) -> Result<Arc<Grant>, StoreError> {
        let runtime = &self.runtime;
        loop {
            // A refresh that is under way for the old grant finds a newer generation, and adopts it. What the person grants
            // anew replaces what cannot be read here, too: their newest word counts.
            let (newest, version) = self.newest().await?;
            let grant = grant.clone().consented_again(newest.as_deref());
            if runtime.records.swap(&self.row, version, &grant, until, Vec::new()).await?.is_some() {
                let grant = Arc::new(grant);
                self.carry(&grant);
                runtime.sweep_in_time();
                return Ok(grant);
            }
        }
    }

    /// What lies in the row. Where the browser shows the grant as good still, a row that looks expired counts: this clock
    /// may be wrong, and what others have refreshed or taken back is neither spent again nor served.
    pub(crate) async fn load(&self, shown: Option<&Arc<Grant>>) -> Result<Loaded<Grant>, StoreError> {
        match shown {
            Some(_) => self.runtime.records.load_expired_too(&self.row).await,
            None => self.runtime.records.load(&self.row).await,
        }
    }
}

impl GrantLifetime {
    /// The time until which a grant is kept, of a session that ends at `session_ends_at`.
    pub(crate) fn kept_until(self, session_ends_at: Timestamp) -> Timestamp {
        match self {
            Self::Session => session_ends_at,
            Self::Persistent => FOREVER,
        }
    }
}
