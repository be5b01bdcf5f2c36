//! The provider's keys, and what they verify.
//!
//! Logout and access tokens come from callers whom nobody knows: whatever they show, the provider is asked no more than it bears.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use url::Url;

use super::cached::Cached;
use super::error::ProviderError;
use super::{MAX_AGE, Provider};
use crate::events::EventCode;
use crate::protocol::access_token::{self};
use crate::protocol::id_token::verify;
use crate::protocol::logout_token::{self};
use crate::protocol::{BearerToken, IdToken, IdTokenUse, JwsPolicy, JwtError, KeySet, LogoutToken, TokenPolicy};
use crate::secret::Secret;

/// So many logout and access tokens wait for keys at a time.
pub(super) const MOST_WAITING: usize = 16;

/// An unknown key makes the key set be read again no more often than this.
const KEY_SET_THROTTLE: Duration = Duration::from_secs(2);

impl Provider {
    pub(super) async fn fetch_keys(&self, jwks_uri: &Url) -> Result<KeySet, ProviderError> {
        let fetched = async {
            // RFC 7517 section 8.5.2.
            let accept = "application/jwk-set+json, application/json, */*;q=0.1";
            let document = self.get(jwks_uri.as_str(), accept).await?;
            KeySet::parse(&document).ok_or_else(|| ProviderError::unavailable("there is no key in its key set"))
        };
        self.told(fetched.await, EventCode::KeySetFetched)
    }

    /// Whether an answer of this provider can be verified: its metadata and keys are here.
    pub(crate) async fn ready(self: &Arc<Self>) -> Result<(), ProviderError> {
        let metadata = self.metadata().await?;
        let Some(jwks_uri) = &metadata.jwks_uri else { return Ok(()) };
        self.keys.get_or_fetch(async || self.fetch_keys(jwks_uri).await).await.map(drop)
    }

    /// Verifies an ID token with the provider's keys.
    pub(crate) async fn verify(
        self: &Arc<Self>, id_token: &Secret, access_token: &Secret, token_use: IdTokenUse<'_>,
    ) -> Result<IdToken, ProviderError> {
        let (id_token, access_token) = (id_token.expose_secret(), access_token.expose_secret());
        let verified = self.with_keys("ID token", &self.keys, None, |keys, expected| {
            verify(id_token, access_token, &token_use, keys, expected)
        });
        let verified = verified.await?;
        if let IdTokenUse::Refresh { original: Some(original) } = &token_use
            && original.auth_time.is_some()
            && verified.facts.auth_time.is_some_and(|auth_time| Some(auth_time) != original.auth_time)
        {
            self.ignored(format_args!("a refreshed ID token has another auth_time than the first"));
        }
        verified.unreadable.iter().for_each(|name| self.ignored(format_args!("the claim {name} cannot be read")));
        Ok(verified)
    }

    /// Verifies `what` with the provider's keys, which are read again once, as `again`, where a key is unknown. For that its
    /// turn is waited for, with one of `places` where they are limited.
    pub(super) async fn with_keys<T>(
        self: &Arc<Self>, what: &'static str, again: &Cached<KeySet>, places: Option<&Semaphore>,
        verify: impl Fn(&KeySet, &TokenPolicy<'_>) -> Result<T, JwtError>,
    ) -> Result<T, ProviderError> {
        let (metadata, seen) = (self.metadata().await?, again.asked());
        // Without ID tokens there are no keys, and nothing that is signed comes from there.
        let jwks_uri = metadata.jwks_uri.as_ref().ok_or(ProviderError::Malformed("key set"))?;
        let registered = &self.relying_party;
        let algorithms = registered.algorithm.as_ref().map_or(&metadata.algorithms[..], std::slice::from_ref);
        let mut expected = TokenPolicy {
            issuer: &registered.issuer,
            client_id: &registered.client_id,
            trusted_audiences: &registered.trusted_audiences,
            any_audience_with_azp: registered.any_audience_with_azp,
            jws: JwsPolicy { algorithms, keys_are_new: false },
            decisive: &registered.decisive,
            now: self.clock.now(),
        };
        let fetch = async || self.fetch_keys(jwks_uri).await;
        // What they do not have read again by its age is believed no longer than what is.
        let is_current = places.is_some() && !again.is_older_than(MAX_AGE);
        // What was fetched for tokens of unknown callers is known to them, and to nobody else.
        let known = [Some(self.keys.get_or_fetch(fetch).await?), again.value().filter(|_| is_current)];
        let wrong = |why| ProviderError::Statement(what, why);
        for keys in known.iter().flatten() {
            match verify(keys, &expected) {
                Err(JwtError::UnknownKey(_)) => {}
                verified => return verified.map_err(wrong),
            }
        }
        let full = |_| ProviderError::unavailable("too many tokens wait for its keys");
        let _place = places.map(Semaphore::try_acquire).transpose().map_err(full)?;
        let fetch = async || self.fetch_keys(jwks_uri).await;
        let keys = again.refetch(KEY_SET_THROTTLE, seen, fetch).await?;
        expected.jws.keys_are_new = true;
        verify(&keys, &expected).map_err(wrong)
    }

    /// Verifies a logout token with the provider's keys. Where a key is unknown they are read again, as often as for
    /// logins, and apart from them: a login that meets a new key never waits because of what a stranger sent.
    pub(crate) async fn verify_logout_token(self: &Arc<Self>, compact: &str) -> Result<LogoutToken, ProviderError> {
        self.with_keys("logout token", &self.keys_for_anybody, Some(&self.waiting), |keys, expected| {
            logout_token::verify(compact, keys, expected)
        })
        .await
    }

    /// Verifies an access token for this application as an API, with the keys that logout tokens are verified with.
    pub(crate) async fn verify_access_token(
        self: &Arc<Self>, compact: &str, audience: &str,
    ) -> Result<BearerToken, ProviderError> {
        let accepted = (audience, self.relying_party.plain_jwt_access_tokens);
        self.with_keys("access token", &self.keys_for_anybody, Some(&self.waiting), |keys, expected| {
            access_token::verify(compact, accepted, keys, expected)
        })
        .await
    }
}
