//! The lease of a refresh under way, and what is written under it before the refresh is done.

use std::convert::Infallible;

use super::lookup::{StoredGrant, TokenAction, next};
use super::refresh_protocol::{
    Action, Input, LeaseView, RENEW, RefreshMachine, RowView, SpentToken, Usability,
};
use super::refresh_request::FIRST_RETRY;
use super::refresh_task::{RefreshTask, RowVersion};
use crate::records::Lease;
use crate::secret::Secret;

type Machine = RefreshMachine<RowVersion, Option<Secret>>;

impl RefreshTask<'_> {
    /// The row as the refresh protocol sees it.
    pub(super) fn row(&self, found: &StoredGrant) -> RowView<RowVersion, Option<Secret>> {
        let (grant, now, spread) = (&found.grant, self.place.runtime.now(), self.place.spread());
        let held = |lease: &Lease| LeaseView {
            mine: lease.holder == self.holder,
            left: lease.until.duration_since(now),
        };
        RowView {
            version: found.version,
            spent_token: SpentToken {
                refreshes: grant.refreshes(),
                refresh_token: grant.refresh_token.clone(),
            },
            lease: grant.lease.as_ref().map(held),
            usability: match next(grant, self.request, now, spread) {
                TokenAction::Serve => Usability::Good,
                TokenAction::ServeAndRenew | TokenAction::Refresh => Usability::Stale,
                TokenAction::Wait(_) => Usability::Held,
                TokenAction::Consent => Usability::Over,
            },
            outlives: grant.outlives_refresh_token(now),
        }
    }

    /// However slow the provider is, nobody else spends what is being spent.
    pub(super) async fn while_renewing<T>(
        &mut self,
        machine: &mut Machine,
        work: impl Future<Output = T>,
    ) -> T {
        // What is dropped in the middle of a renewal is found out at the next swap.
        tokio::select! {
            biased;
            done = work => done,
            never = self.renew(machine) => match never {},
        }
    }

    async fn renew(&mut self, machine: &mut Machine) -> Infallible {
        let mut pause = RENEW;
        loop {
            tokio::time::sleep(pause).await;
            pause = if self.renew_once(machine).await { RENEW } else { FIRST_RETRY };
        }
    }

    /// False where the store failed.
    async fn renew_once(&mut self, machine: &mut Machine) -> bool {
        let mut action = machine.renew();
        let mut reached = true;
        while let Some(next) = action {
            let event = match next {
                Action::Swap { expected, to } => self.swap(expected, to).await,
                _ => self.read().await,
            };
            // From now on the row has the refresh token that came.
            if let (Input::Swapped(Some(_)), Some(written)) = (&event, &self.found) {
                machine.spent = Some(self.row(written).spent_token);
            }
            reached = !matches!(event, Input::StoreFailed);
            action = machine.renewed(&event);
        }
        reached
    }

    /// A rotated refresh token is written before anybody is asked whose the access token is: that may take long, and fail.
    pub(super) async fn write_rotated(&mut self, machine: &mut Machine) {
        let rotated = self.rotated_unverified();
        let is_written =
            |machine: &Machine| machine.spent.as_ref().map(|spent| &spent.refresh_token) == Some(&rotated);
        while rotated.is_some() && !machine.lost && !self.never_written && !is_written(machine) {
            if !self.renew_once(machine).await {
                self.pause().await;
            }
        }
    }
}
