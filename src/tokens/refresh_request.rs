//! The request of a refresh: what the provider is asked, how the response is verified, and what a failure means.

use std::sync::Arc;
use std::time::Duration;

use super::locate::GrantRef;
use super::lookup::TokenRequest;
use super::refresh_protocol::ProviderReply;
use crate::clock::Timestamp;
use crate::error::RetryLater;
use crate::protocol::{IdToken, IdTokenUse, RefusalRemedy, TokenResponse};
use crate::provider::{Provider, ProviderError};
use crate::records::{Grant, GrantSource, Owner, RefreshHold};
use crate::state::in_flight::RefreshOutcome;

/// Between two attempts at what cannot be given up; doubling up to the second.
pub(crate) const FIRST_RETRY: Duration = Duration::from_millis(50);
pub(crate) const LAST_RETRY: Duration = Duration::from_secs(2);

/// Spends the refresh token, once.
pub(crate) async fn ask(
    place: &GrantRef,
    grant: &Grant,
    request: &TokenRequest,
) -> Result<TokenResponse, ProviderError> {
    let (connection, narrowed) = (place.registered(), grant.narrowed());
    let scopes = match (&request.indicator, connection) {
        (None, _) if grant.refresh_token.is_some() => &narrowed,
        // One token for all APIs that have none of their own.
        (None, Some(connection)) => &connection.scopes,
        _ => &request.scopes,
    };
    place.provider().renew(grant.refresh_token.as_ref(), request.indicator.as_deref(), scopes).await
}

/// OpenID Connect Core 1.0 section 12.2. An ID token need not come; one that comes must hold.
pub(crate) async fn verify(
    provider: &Arc<Provider>,
    grant: &Grant,
    response: &TokenResponse,
) -> Result<Option<IdToken>, ProviderError> {
    let nobody = matches!(grant.owner, Owner::Visitor { .. }) && grant.original.is_none();
    if nobody || grant.origin == GrantSource::ClientCredentials {
        // RFC 6749 section 4.4: nobody signed in, and whoever it names is not asked about. No more is it of a visitor.
        return Ok(None);
    }
    let mut pause = FIRST_RETRY;
    loop {
        let token_use = IdTokenUse::Refresh { original: grant.original.as_ref() };
        match provider.identify(response, token_use).await {
            // The keys cannot be read now. The tokens are kept in memory, as while the store fails.
            Err(error) if error.passes() && provider.relying_party.oauth2.is_none() => {}
            verified => return verified,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

/// What a failure means for a grant, and how long the provider is left alone after it.
pub(crate) fn failed(
    error: &ProviderError,
    grant: Option<&Grant>,
    now: Timestamp,
) -> (ProviderReply, Option<RefreshHold>) {
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
        (RefusalRemedy::Later, Some(pause)) => {
            (ProviderReply::Failed, Some(RefreshHold::pause(before, pause, now)))
        }
        (RefusalRemedy::Person | RefusalRemedy::Operator | RefusalRemedy::Later, _) => {
            (ProviderReply::Failed, None)
        }
    }
}

/// A refresh that its provider's breaker has admitted.
pub(crate) struct Attempt<'a> {
    place: &'a GrantRef,
    /// The provider is away, and asks to be left alone for so long.
    pub(crate) failed: Option<Duration>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn begin(place: &'a GrantRef) -> Result<Self, RequestFailure> {
        let now = place.runtime.clock.monotonic();
        let admitted = place.provider().breaker.lock().admit(place.row.key, now);
        admitted.map(|()| Self { place, failed: None }).map_err(RequestFailure::HeldBack)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let (Self { place, failed }, [spread]) = (&*self, self.place.runtime.random.bytes());
        let now = place.runtime.clock.monotonic();
        place.provider().breaker.lock().ended(place.row.key, *failed, now, spread);
    }
}

/// What failed last.
pub(crate) enum RequestFailure {
    /// The provider is away, and is left alone for so long.
    HeldBack(Duration),
    Provider(ProviderError),
    Store(String),
}

impl RequestFailure {
    /// The outcome of a refresh that failed so and left the grant as it was; the provider is left alone for so long.
    pub(crate) fn outcome(self, request: &TokenRequest, left: Duration) -> RefreshOutcome {
        let later = match self {
            Self::Provider(why) => {
                let reason = why.to_string();
                if let (ProviderError::Refused(refusal), true) = (&why, left.is_zero()) {
                    let only = request.indicator.clone().filter(|_| refusal.is_about_resource());
                    return RefreshOutcome::Refused { only, reason: reason.into() };
                }
                RetryLater::new(reason, left)
            }
            Self::Store(why) => RetryLater::new(why, Duration::ZERO),
            Self::HeldBack(left) => RetryLater::new("the provider is away", left),
        };
        RefreshOutcome::Unavailable(later)
    }
}
