//! One flight: a grant's refresh token is spent, and what comes for it is verified, written, and only then used.

use std::sync::Arc;
use std::time::Duration;

use super::account::ROTATED;
use super::held_grant::{NoToken, Step, Want, next, read};
use super::sign_in::revoke;
use crate::ambient::Timestamp;
use crate::connection::Retention;
use crate::events::EventCode;
use crate::grant::{Grant, Lease, Origin, Standing};
use crate::outbound::CALL_DEADLINE;
use crate::protocol::id_token::{Facts, IdTokenError, Occasion};
use crate::protocol::token::TokenResponse;
use crate::provider::{KEY_SET_THROTTLE, ProviderError, cause};
use crate::records::GrantPlace;
use crate::runtime::Runtime;
use crate::store::{StoreError, Version};

/// How long a lease holds: two calls to the provider, one for its keys, and what the store takes.
const LEASE: Duration = Duration::from_secs(3 * CALL_DEADLINE.as_secs() + 15);
/// Between two attempts to write a new generation; doubling up to the second.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// To the newest generation of the grant.
pub(crate) async fn refresh(
    runtime: &Arc<Runtime>,
    place: &GrantPlace,
    want: &Want,
) -> Result<Grant, NoToken> {
    loop {
        let (grant, version, expires_at) = read(runtime, place).await?.ok_or(NoToken::Consent)?;
        let now = runtime.now();
        match next(&grant, want, now, place.row.key.0[1]) {
            Step::Serve => {
                runtime.events().emit(EventCode::RefreshAdopted, place.user(), "somebody else refreshed it");
                return Ok(grant);
            }
            Step::Consent => return Err(NoToken::Consent),
            Step::ServeAndRenew | Step::Refresh => {}
        }
        if let Some(lease) = grant.lease.as_ref().filter(|lease| lease.holds(now, LEASE)) {
            runtime.records.wait(place.row.key, version, lease.until.since(now)).await?;
            continue;
        }
        // First the keys: nothing is spent for an answer that could not be verified, and no lease runs out for them.
        if let Err(error) = runtime.provider.ready().await {
            runtime.events().emit(EventCode::RefreshFailed, place.user(), cause(&error));
            return Err(NoToken::Unavailable(Box::new(error)));
        }
        let lease = Lease { holder: runtime.random.bytes(), until: runtime.now().plus(LEASE) };
        let leased = Grant { lease: Some(lease.clone()), ..grant.clone() };
        if let Some(version) =
            runtime.records.swap(&place.row, Some(version), &leased, expires_at, vec![]).await?
        {
            return Spend { runtime, place, want, grant, lease, version, expires_at }.run().await;
        }
    }
}

/// The lease is ours: the refresh token is spent here and nowhere else.
struct Spend<'a> {
    runtime: &'a Arc<Runtime>,
    place: &'a GrantPlace,
    want: &'a Want,
    /// As it was before the lease.
    grant: Grant,
    lease: Lease,
    /// Of the row with the lease.
    version: Version,
    expires_at: Timestamp,
}

impl Spend<'_> {
    async fn run(self) -> Result<Grant, NoToken> {
        if !self.grant.can_renew() {
            return Err(NoToken::Consent);
        }
        let mut answer = self.ask().await;
        if matches!(answer, Err(ProviderError::Unavailable(_) | ProviderError::Malformed(_))) {
            // Lost on its way, perhaps after the provider had rotated: providers that forgive a repeated
            // request do so for a moment only.
            answer = self.ask().await;
        }
        match answer {
            Ok(response) => self.receive(response).await,
            // RFC 6749 section 5.2: invalid, expired or revoked. Every other code is about us, not the grant.
            Err(ProviderError::Refused(code)) if code == "invalid_grant" => {
                self.end_unless_newer(Standing::Refused, EventCode::RefreshRefused, "invalid_grant").await
            }
            // What the application is refused by its own name is its operator's to mend, and then works at once.
            Err(error @ ProviderError::Refused(_)) if self.grant.origin == Origin::ClientCredentials => {
                self.release(error).await.or(Err(NoToken::Consent))
            }
            Err(error) => self.release(error).await,
        }
    }

    async fn ask(&self) -> Result<TokenResponse, ProviderError> {
        let want = self.want;
        let connection = self.runtime.settings.connections.named(&self.grant.connection);
        let scopes = match (&want.indicator, connection) {
            // One token for all APIs that have none of their own.
            (None, Some(connection)) => &connection.scopes,
            _ => &want.scopes,
        };
        let refresh_token = self.grant.refresh_token.as_ref();
        self.runtime.provider.renew(refresh_token, want.indicator.as_deref(), scopes).await
    }

    async fn release(self, error: ProviderError) -> Result<Grant, NoToken> {
        self.tell(EventCode::RefreshFailed, &cause(&error));
        // Without the lease others may try at once. If this fails, they wait until it runs out.
        let _ = self.write(self.version, &self.grant).await;
        Err(NoToken::Unavailable(Box::new(error)))
    }

    async fn receive(mut self, response: TokenResponse) -> Result<Grant, NoToken> {
        let facts = match self.verify(&response).await {
            Ok(facts) => facts,
            Err(error) => return self.refuse(error, &response).await,
        };
        let mut next = self.grant.refreshed(&response, self.want.indicator.as_deref(), self.runtime.now());
        next.facts = next.facts.or(facts);
        let (mut expected, mut pause) = (self.version, FIRST_RETRY);
        loop {
            match self.write(expected, &next).await {
                Ok(Some(_)) => {
                    self.tell(EventCode::RefreshSucceeded, "a new access token");
                    let first = next.has_left_its_seed() && !self.grant.has_left_its_seed();
                    if first && !self.runtime.records.is_durable() {
                        self.tell(EventCode::NeedsOperator, ROTATED);
                    }
                    return Ok(next);
                }
                Ok(None) => match read(self.runtime, self.place).await {
                    // Deleted while the provider was asked: nothing is brought back.
                    Ok(None) => {
                        if self.may_be_revoked() {
                            revoke(self.runtime, &response).await;
                        }
                        return Err(NoToken::Consent);
                    }
                    // Newer, or granted anew after a deletion, or ours after all: a store may write and fail to say so.
                    Ok(Some((current, ..))) if !self.is_what_was_spent(&current) => return Ok(current),
                    // Somebody took a lease that had run out. What we hold is newer than what they will spend.
                    Ok(Some((_, version, _))) => {
                        expected = version;
                        continue;
                    }
                    Err(_) => {}
                },
                Err(_) => {}
            }
            if pause == FIRST_RETRY {
                self.tell(EventCode::RefreshNotWritten, "the store fails; the new tokens are kept in memory");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// What came is not used, and neither is the grant any more.
    async fn refuse(self, error: ProviderError, response: &TokenResponse) -> Result<Grant, NoToken> {
        let (standing, code) = match error {
            ProviderError::IdToken(IdTokenError::AnotherOwner(_)) => {
                (Standing::AnotherOwner, EventCode::RefreshAnotherOwner)
            }
            _ => (Standing::Refused, EventCode::RefreshRefused),
        };
        let runtime = self.runtime;
        let ended = self.end_unless_newer(standing, code, &cause(&error)).await;
        // Only now: a provider that is slow to revoke must not keep the grant usable.
        revoke(runtime, response).await;
        ended
    }

    /// OpenID Connect Core 1.0 section 12.2. An ID token need not come; one that comes must hold.
    async fn verify(&mut self, response: &TokenResponse) -> Result<Option<Facts>, ProviderError> {
        let Some(id_token) = &response.id_token else { return Ok(None) };
        if self.grant.origin == Origin::ClientCredentials {
            // RFC 6749 section 4.4: nobody signed in, and whoever it names is not asked about.
            return Ok(None);
        }
        let (mut pause, mut waited) = (FIRST_RETRY, Duration::ZERO);
        loop {
            let occasion = Occasion::Refresh { original: self.grant.facts.as_ref() };
            match self.runtime.provider.verify(id_token, &response.access_token, occasion).await {
                // The keys cannot be read now. The tokens are kept in memory, as while the store fails.
                Err(error) if error.passes() => {}
                // The keys were read a moment ago, and are not read again so soon.
                Err(ProviderError::IdToken(IdTokenError::UnknownKey)) if waited <= KEY_SET_THROTTLE => {}
                verified => return verified.map(|id_token| Some(id_token.facts)),
            }
            self.hold().await;
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// Keeps the lease while the new tokens cannot be written: nobody spends what has been spent.
    async fn hold(&mut self) {
        let now = self.runtime.now();
        if self.lease.until.since(now) > LEASE / 2 {
            return;
        }
        let lease = Lease { until: now.plus(LEASE), ..self.lease.clone() };
        let held = Grant { lease: Some(lease.clone()), ..self.grant.clone() };
        if let Ok(Some(version)) = self.write(self.version, &held).await {
            (self.lease, self.version) = (lease, version);
        }
    }

    /// Ends the grant, unless somebody brought it to a newer generation: that one counts.
    async fn end_unless_newer(
        self,
        standing: Standing,
        code: EventCode,
        why: &str,
    ) -> Result<Grant, NoToken> {
        loop {
            let Some((current, version, _)) = read(self.runtime, self.place).await? else {
                return Err(NoToken::Consent);
            };
            if !self.is_what_was_spent(&current) {
                self.tell(EventCode::RefreshAdopted, "somebody else refreshed it");
                return Ok(current);
            }
            if self.write(version, &current.tombstone(standing)).await?.is_some() {
                self.tell(code, why);
                return Err(NoToken::Consent);
            }
        }
    }

    /// The grant whose refresh token was spent, whoever holds a lease on it now. Another one, such as what was granted
    /// after a disconnection, is not this flight's.
    fn is_what_was_spent(&self, current: &Grant) -> bool {
        current.generation == self.grant.generation && current.refresh_token == self.grant.refresh_token
    }

    /// What ended with its session is revoked only where logout does so: elsewhere one token may take all with it.
    fn may_be_revoked(&self) -> bool {
        let settings = &self.runtime.settings;
        let connection = settings.connections.named(&self.grant.connection);
        settings.revoke_at_logout
            || connection.is_some_and(|connection| connection.retention == Retention::User)
    }

    async fn write(&self, expected: Version, grant: &Grant) -> Result<Option<Version>, StoreError> {
        self.runtime.records.swap(&self.place.row, Some(expected), grant, self.expires_at, vec![]).await
    }

    fn tell(&self, code: EventCode, detail: &str) {
        self.runtime.events().emit(code, self.place.user(), detail);
    }
}
