//! The grant of the session that a login replaces: its refresh token goes on where the provider sent none with the login.

use std::sync::Arc;
use std::time::Duration;

use super::context::EndpointContext;
use crate::clock::Timestamp;
use crate::config::connections::CheckedConnection;
use crate::records::grant::{Grant, GrantStatus, Lease, Owner};
use crate::sessions::session::Session;
use crate::sessions::session_id::SessionId;
use crate::store::{StoreError, Version};
use crate::tokens::locate::GrantRef;
use crate::tokens::principal::Principal;
use crate::tokens::refresh_protocol::LEASE;

/// How long a login waits for a refresh that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// It is leased by the login: no other process spends its refresh token until the new session stands, or the login failed.
pub(crate) struct Replaced {
    place: GrantRef,
    pub(crate) grant: Grant,
    version: Version,
}

impl Replaced {
    /// `shown` is the session as the browser shows it, where browsers carry their sessions.
    pub(crate) async fn lease(
        context: &EndpointContext,
        owner: &Owner,
        login: &CheckedConnection,
        id: SessionId,
        shown: Option<&Arc<Session>>,
        until: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let runtime = &context.runtime;
        let place =
            match (context.jar(), shown.filter(|session| session.id == id && session.owner() == *owner)) {
                (None, _) => runtime.grant_place(owner.clone(), login, Some(runtime.session_row(id))).await?,
                (Some(_), Some(shown)) => {
                    context.place_of(&Principal::Session(Arc::clone(shown)), login).await?
                }
                (Some(_), None) => return Ok(None),
            };
        let leasing = Self::lease_at(place, until);
        tokio::time::timeout(PATIENCE, leasing).await.unwrap_or(Ok(None))
    }

    async fn lease_at(place: GrantRef, until: Timestamp) -> Result<Option<Self>, StoreError> {
        let runtime = Arc::clone(&place.runtime);
        loop {
            let (newest, version) = place.newest().await?;
            let Some(newest) = newest.filter(|grant| grant.status == GrantStatus::Active) else {
                return Ok(None);
            };
            let now = runtime.now();
            let left = newest
                .lease
                .as_ref()
                .map(|lease| lease.until.duration_since(now))
                .filter(|left| !left.is_zero());
            if let Some(left) = left {
                runtime.records.wait(place.row.key, version, left).await?;
                continue;
            }
            let lease = Some(Lease { holder: runtime.random.bytes(), until: now.saturating_add(LEASE) });
            let grant = Grant { lease, ..Grant::clone(&newest) };
            let leased = runtime.records.swap(&place.row, version, &grant, until, Vec::new()).await?;
            if let Some(version) = leased {
                return Ok(Some(Self { place, grant, version }));
            }
        }
    }

    /// The new session has it: the end of the old one must not revoke it.
    pub(crate) async fn forget(&self) -> Result<bool, StoreError> {
        self.place.take_found(&self.grant, Some(self.version)).await
    }
}
