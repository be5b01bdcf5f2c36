//! The request of a refresh: what the provider is asked, how the response is verified, and what a failure means. The lease
//! is renewed meanwhile, and what came is written under it before the refresh is done.

use std::convert::Infallible;
use std::sync::Arc;

use super::locate::StoredGrant;
use super::lookup::{TokenAction, next};
use super::refresh_protocol::{
    Action, EndReason, Input, LeaseView, ProviderReply, RENEW, RefreshMachine, RowView, SpentToken, Usability,
};
use super::refresh_task::{FIRST_RETRY, LAST_RETRY, RefreshTask, RequestFailure, RowVersion, TaskInput};
use crate::clock::Timestamp;
use crate::protocol::{IdToken, IdTokenUse, RefusalRemedy, TokenResponse};
use crate::provider::ProviderError;
use crate::records::{Grant, GrantSource, Lease, Owner, RefreshHold};
use crate::secret::Secret;

type Machine = RefreshMachine<RowVersion, Option<Secret>>;

impl<'a> RefreshTask<'a> {
    /// Spends the refresh token, once.
    pub(super) fn asked(&mut self) -> impl Future<Output = Result<TokenResponse, ProviderError>> + use<'a> {
        let (place, request) = (self.place, self.request);
        let grant = self.found.as_ref().map(|found| found.grant.clone());
        (self.turn, self.spent, self.asked_at) = (None, grant.clone(), place.runtime.next_moment());
        async move {
            let grant = grant.ok_or(ProviderError::Malformed("there is no grant"))?;
            let narrowed = grant.narrowed();
            let is_for_some = place.registered().filter(|one| narrowed.is_empty() && !one.elsewhere.is_empty());
            let own = is_for_some.map_or(narrowed, |connection| connection.of_code(&grant.scopes));
            let scopes = match (&request.indicator, place.registered()) {
                (None, _) if grant.refresh_token.is_some() => &own,
                // One token for all APIs that have none of their own.
                (None, Some(connection)) => &connection.scopes,
                _ => &request.scopes,
            };
            place.provider().renew(grant.refresh_token.as_ref(), request.indicator.as_deref(), scopes).await
        }
    }

    pub(super) fn answered(&mut self, answer: Result<TokenResponse, ProviderError>) -> TaskInput {
        if let Some(attempt) = &mut self.attempt {
            attempt.failed = answer.as_ref().err().and_then(ProviderError::away);
        }
        let error = match answer {
            Ok(response) => {
                (self.response, self.came_at) = (Some(Arc::new(response)), self.place.runtime.now());
                return Input::Answered(ProviderReply::Tokens);
            }
            Err(error) => error,
        };
        let answer;
        (answer, self.hold) = failed(&error, self.spent.as_deref(), self.place.runtime.now());
        self.why = Some(RequestFailure::Provider(error));
        Input::Answered(answer)
    }

    /// OpenID Connect Core 1.0 section 12.2. An ID token need not come; one that comes must hold.
    pub(super) fn verified(&self) -> impl Future<Output = Result<Option<IdToken>, ProviderError>> + use<'a> {
        let (provider, came) = (self.place.provider(), self.spent.clone().zip(self.response.clone()));
        async move {
            let Some((grant, response)) = came else { return Ok(None) };
            let nobody = matches!(grant.owner, Owner::Visitor { .. }) && grant.original.is_none();
            if nobody || grant.origin == GrantSource::ClientCredentials {
                // RFC 6749 section 4.4: nobody signed in, and whoever it names is not asked about. No more is it of a visitor.
                return Ok(None);
            }
            let mut pause = FIRST_RETRY;
            loop {
                let token_use = IdTokenUse::Refresh { original: grant.original.as_ref() };
                match provider.identify(&response, token_use).await {
                    // The keys cannot be read now. The tokens are kept in memory, as while the store fails.
                    Err(error) if error.passes() && provider.relying_party.oauth2.is_none() => {}
                    verified => return verified,
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_RETRY);
            }
        }
    }

    pub(super) fn judged(&mut self, verified: Result<Option<IdToken>, ProviderError>) -> TaskInput {
        let error = match verified {
            Ok(id_token) => {
                self.id_token = id_token;
                return Input::Verified(Ok(()));
            }
            Err(error) => error,
        };
        let is_another = error.names_another_owner();
        // An identity endpoint that fails says nothing against the tokens, and the refresh token is written.
        let may_pass = !is_another && self.place.provider().relying_party.oauth2.is_some();
        if may_pass {
            self.hold = failed(&error, self.spent.as_deref(), self.place.runtime.now()).1;
        }
        (self.refused, self.why) = (!may_pass, Some(RequestFailure::Provider(error)));
        match (may_pass, is_another) {
            (true, _) => Input::Answered(ProviderReply::Failed),
            (_, true) => Input::Verified(Err(EndReason::AnotherOwner)),
            (_, false) => Input::Verified(Err(EndReason::Unverified)),
        }
    }

    /// The refresh token that came, where the identity endpoint is still to say whose it is.
    pub(super) fn rotated_unverified(&self) -> Option<Secret> {
        self.place.provider().relying_party.oauth2.as_ref()?;
        self.spent.as_ref()?.refresh_token.as_ref()?;
        self.response.as_ref()?.refresh_token.clone()
    }

    /// The row as the refresh protocol sees it.
    pub(super) fn row(&self, found: &StoredGrant) -> RowView<RowVersion, Option<Secret>> {
        let (grant, now, spread) = (&found.grant, self.place.runtime.now(), self.place.spread());
        let held =
            |lease: &Lease| LeaseView { mine: lease.holder == self.holder, left: lease.until.duration_since(now) };
        RowView {
            version: found.version,
            spent_token: SpentToken { refreshes: grant.refreshes(), refresh_token: grant.refresh_token.clone() },
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
    pub(super) async fn while_renewing<T>(&mut self, machine: &mut Machine, work: impl Future<Output = T>) -> T {
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
        let is_written = |machine: &Machine| machine.spent.as_ref().map(|spent| &spent.refresh_token) == Some(&rotated);
        while rotated.is_some() && !machine.lost && !self.never_written && !is_written(machine) {
            if !self.renew_once(machine).await {
                self.pause().await;
            }
        }
    }
}

/// What a failure means for a grant, and how long the provider is left alone after it.
fn failed(error: &ProviderError, grant: Option<&Grant>, now: Timestamp) -> (ProviderReply, Option<RefreshHold>) {
    let refusal = match error {
        ProviderError::Refused(refusal) | ProviderError::Busy(refusal) => refusal,
        ProviderError::Unavailable(_) | ProviderError::Malformed(_) => return (ProviderReply::Lost, None),
        _ => return (ProviderReply::Failed, None),
    };
    // Where no refresh token was sent, nothing of the person's could be over.
    let sent_token = grant.is_some_and(|grant| grant.refresh_token.is_some());
    let before = grant.and_then(|grant| grant.hold);
    match (refusal.remedy(), refusal.retry_after) {
        (RefusalRemedy::Person, _) if sent_token => (ProviderReply::InvalidGrant, None),
        (RefusalRemedy::Unclear, pause) => {
            let hold = RefreshHold::after(before, pause, now);
            let is_over = sent_token && hold.is_over(now);
            (if is_over { ProviderReply::InvalidGrant } else { ProviderReply::Failed }, Some(hold))
        }
        (RefusalRemedy::Later, Some(pause)) => (ProviderReply::Failed, Some(RefreshHold::pause(before, pause, now))),
        (RefusalRemedy::Person | RefusalRemedy::Operator | RefusalRemedy::Later, _) => (ProviderReply::Failed, None),
    }
}
