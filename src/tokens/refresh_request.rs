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
        let by_endpoint = self.place.provider().relying_party.oauth2.is_some();
        let end = EndReason::of_unverified(error.names_another_owner(), by_endpoint);
        if end.is_none() {
            self.hold = failed(&error, self.spent.as_deref(), self.place.runtime.now()).1;
        }
        (self.refused, self.why) = (end.is_some(), Some(RequestFailure::Provider(error)));
        Input::Verified(Err(end))
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
        let held = |one: &Lease| LeaseView { mine: one.holder == self.holder, left: one.until.duration_since(now) };
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
            let event = self.renew_once(machine).await;
            pause = if matches!(event, Input::StoreFailed | Input::StoreRefused) { FIRST_RETRY } else { RENEW };
        }
    }

    /// Returns what happened last.
    async fn renew_once(&mut self, machine: &mut Machine) -> TaskInput {
        let (mut action, mut event) = (machine.renew(), Input::Paused);
        while let Some(next) = action {
            event = match next {
                Action::Swap { expected, to } => self.swap(expected, to).await,
                _ => self.read().await,
            };
            let has = self.found.as_ref().map(|found| self.row(found).spent_token);
            action = machine.renewed(&event, has);
        }
        event
    }

    /// First, where it must be, the refresh token that came.
    pub(super) async fn write_rotated(&mut self, machine: &mut Machine) {
        let rotated = self.rotated_unverified();
        while rotated.is_some() && machine.must_write(&rotated) {
            match self.renew_once(machine).await {
                Input::StoreFailed => _ = self.pause().await,
                Input::StoreRefused => return,
                _ => {}
            }
        }
    }
}

/// How a request failed, and how long the provider is left alone after it.
fn failed(error: &ProviderError, grant: Option<&Grant>, now: Timestamp) -> (ProviderReply, Option<RefreshHold>) {
    let (remedy, pause) = match error {
        ProviderError::Refused(refusal) | ProviderError::Busy(refusal) => (Some(refusal.remedy()), refusal.retry_after),
        ProviderError::Unavailable(_) | ProviderError::Malformed(_) => (None, None),
        // Nothing was sent.
        _ => (Some(RefusalRemedy::Operator), None),
    };
    let before = grant.and_then(|grant| grant.hold);
    let hold = match (remedy, pause) {
        (Some(RefusalRemedy::Unclear), _) => Some(RefreshHold::after(before, pause, now)),
        (Some(RefusalRemedy::Later), Some(pause)) => Some(RefreshHold::pause(before, pause, now)),
        _ => None,
    };
    let sent_token = grant.is_some_and(|grant| grant.refresh_token.is_some());
    let is_over = hold.is_some_and(|hold| hold.is_over(now));
    (ProviderReply::without_tokens(remedy, sent_token, is_over), hold)
}
