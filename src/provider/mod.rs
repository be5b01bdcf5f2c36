//! The OpenID Provider over HTTP: metadata, key set with rotation, and each request of the protocol.

pub(crate) mod breaker;
pub(crate) mod cached;
pub(crate) mod check;
mod client_assertion;
pub(crate) mod connection;
#[cfg(feature = "http-client")]
pub(crate) mod default_client;
#[cfg(not(feature = "http-client"))]
#[path = "no_default_client.rs"]
pub(crate) mod default_client;
pub(crate) mod error;
pub(crate) mod http_client;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod private_key;
pub(crate) mod provider_config;
pub(crate) mod relying_party;
mod reports;

pub(crate) use self::error::ProviderError;
pub(crate) use self::http_client::{API_BODY, CALL_DEADLINE, Network, Outbound, OutboundError, read};
pub(crate) use self::private_key::{ClientKeys, PrivateKey};
pub(crate) use self::provider_config::ProviderConfig;
pub(crate) use self::relying_party::{ProviderId, Providers, RelyingParty};

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tower::BoxError;
use url::Url;
use zeroize::Zeroizing;

use self::breaker::Breaker;
use self::cached::{Cached, Readiness};
use self::http_client::PROVIDER_BODY;
use self::keys::MOST_WAITING;
use crate::clock::{Clock, Random};
use crate::events::{EventCode, Events, timed};
use crate::html::is_form;
use crate::protocol::{
    BearerToken, Built, ClientAuthMethod, KeySet, Metadata, ProviderClient, ProviderRefusal,
    PushedAuthorizationRequests, RefusalRemedy, TokenError, TokenResponse, access_token, json, metadata, token,
};
use crate::secret::Secret;
use crate::store::Key;

/// Metadata and keys are read again after this time, in the background.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// A provider at which this application is registered.
pub(crate) struct Provider {
    pub(crate) relying_party: RelyingParty,
    outbound: Outbound,
    events: Events,
    clock: Clock,
    random: Random,
    metadata: Cached<ProviderClient>,
    keys: Cached<KeySet>,
    /// For callers whom nobody knows: what they ask for takes nothing from those who sign in.
    keys_for_anybody: Cached<KeySet>,
    /// So many of them wait for keys.
    waiting: Semaphore,
    /// Of refreshes, by the names of the grants' rows.
    pub(crate) breaker: Mutex<Breaker<Key>>,
    /// What was told once.
    told: Mutex<HashSet<EventCode>>,
}

impl Provider {
    pub(crate) fn new(
        relying_party: RelyingParty, outbound: Outbound, events: Events, clock: Clock, random: Random,
    ) -> Self {
        Self {
            relying_party,
            outbound,
            events,
            metadata: Cached::new(clock.clone()),
            keys: Cached::new(clock.clone()),
            keys_for_anybody: Cached::new(clock.clone()),
            clock,
            random,
            waiting: Semaphore::new(MOST_WAITING),
            breaker: Mutex::new(Breaker::new()),
            told: Mutex::default(),
        }
    }

    /// The provider's metadata: fetched at the first need, and served on while the provider is away.
    pub(crate) async fn metadata(self: &Arc<Self>) -> Result<Arc<ProviderClient>, ProviderError> {
        if self.metadata.is_older_than(MAX_AGE) || self.keys.is_older_than(MAX_AGE) {
            // Every login begins here: it is done when the person comes back from the provider.
            tokio::spawn(Arc::clone(self).read_again());
        }
        self.metadata.get_or_fetch(async || self.fetch_metadata().await).await
    }

    /// What is old is read again. A key that the provider withdrew is not believed for ever.
    async fn read_again(self: Arc<Self>) {
        const AT_LEAST: Duration = Duration::from_secs(1);
        let (metadata, keys) = (self.metadata.asked(), self.keys.asked());
        if self.metadata.is_older_than(MAX_AGE) {
            let _ = self.metadata.refetch(AT_LEAST, metadata, async || self.fetch_metadata().await).await;
        }
        if let Some(metadata) = self.metadata.value()
            && let Some(jwks_uri) = metadata.jwks_uri.as_ref().filter(|_| self.keys.is_older_than(MAX_AGE))
        {
            let _ = self.keys.refetch(AT_LEAST, keys, async || self.fetch_keys(jwks_uri).await).await;
        }
    }

    /// Whether an ID token is of use at a logout, as far as is known.
    pub(crate) fn takes_logout_hint(&self) -> bool {
        let offered = self.metadata.value().is_none_or(|known| known.end_session_endpoint.is_some());
        self.relying_party.logout_at_provider && self.relying_party.logout_url.is_none() && offered
    }

    /// The provider's metadata, for an answer that somebody waits for: they wait no longer than this.
    pub(crate) async fn metadata_soon(self: &Arc<Self>) -> Result<Arc<ProviderClient>, ProviderError> {
        const SOON: Duration = Duration::from_secs(2);
        let late = |_| ProviderError::unavailable("its metadata did not come within 2 seconds");
        tokio::time::timeout(SOON, self.metadata()).await.map_err(late)?
    }

    async fn fetch_metadata(&self) -> Result<ProviderClient, ProviderError> {
        let (document, is_fetched) = self.document().await;
        let known = document.and_then(|document| self.discovered(&document).map_err(ProviderError::Unavailable));
        if is_fetched { self.told(known, EventCode::MetadataFetched) } else { known }
    }

    /// The discovery document, and whether it was fetched: the configuration may say all that is needed.
    async fn document(&self) -> (Result<Bytes, ProviderError>, bool) {
        let RelyingParty { issuer, internal_url, written, .. } = &self.relying_party;
        if let Some(document) = metadata::by_hand(issuer, &written.metadata) {
            return (Ok(document.into()), false);
        }
        let url = metadata::discovery_url(internal_url.as_ref().map_or(issuer.url.as_str(), Url::as_str));
        (self.get(&url, "application/json, */*;q=0.1").await, true)
    }

    /// Wrong metadata is a provider that cannot be used now: it may be mended without a restart here.
    fn discovered(&self, document: &[u8]) -> Result<ProviderClient, BoxError> {
        let registered = &self.relying_party;
        let configured = (&registered.metadata, registered.internal_url.as_ref());
        let (metadata, ignored) = metadata::parse(document, &registered.issuer, configured)?;
        ignored.iter().for_each(|member| self.ignored(format_args!("the discovery document's {member}")));
        let auth = registered.client_auth_method(&metadata)?;
        Ok(ProviderClient::new(
            metadata,
            &registered.client_id,
            registered.client_secret.as_ref(),
            auth,
            &registered.redirect_uri,
            (registered.oauth2.as_ref().map_or(" ", |oauth2| &oauth2.scope_separator), registered.api_naming),
        )?)
    }

    /// Whether it has the scope for refresh tokens (OpenID Connect Core 1.0 section 11), and is not `asked` for it.
    pub(crate) fn lacks_offline_access(&self, asked: &[String]) -> bool {
        let has = |scopes: &[String]| scopes.iter().any(|scope| scope == "offline_access");
        !has(asked) && self.metadata.value().is_some_and(|metadata| has(&metadata.scopes))
    }

    /// How its metadata and its keys stand here.
    pub(crate) fn readiness(&self) -> (Readiness, Readiness) {
        let metadata = self.metadata.readiness();
        let has_keys = self.relying_party.issuer.issues_id_tokens();
        (metadata, if has_keys { self.keys.readiness() } else { metadata })
    }

    /// RFC 6749 section 4.1.3, RFC 7636 section 4.5.
    pub(crate) async fn exchange(
        self: &Arc<Self>, code: &str, code_verifier: &str, (indicator, scopes): (Option<&str>, &[String]),
    ) -> Result<TokenResponse, ProviderError> {
        let known = self.metadata().await?;
        self.token_request(&known, known.exchange(code, code_verifier, indicator, scopes)).await
    }

    /// RFC 6749 sections 4.4.2 and 6: by a refresh token, or by nothing but the application's own credentials.
    pub(crate) async fn renew(
        self: &Arc<Self>, refresh_token: Option<&Secret>, indicator: Option<&str>, scopes: &[String],
    ) -> Result<TokenResponse, ProviderError> {
        let known = self.metadata().await?;
        let request = match refresh_token {
            Some(token) => known.refresh(token, indicator, scopes),
            None => known.client_credentials(indicator, scopes),
        };
        self.token_request(&known, request).await
    }

    async fn token_request(&self, at: &ProviderClient, built: Built) -> Result<TokenResponse, ProviderError> {
        let (url, answer) = self.post(at, built).await?;
        self.tokens(url, &answer)
    }

    /// What the token endpoint at this URL has answered.
    fn tokens(&self, url: String, answer: &Response<Bytes>) -> Result<TokenResponse, ProviderError> {
        let oauth2 = self.relying_party.oauth2.as_ref();
        // Some providers send tokens in a form.
        let is_form = oauth2.is_some() && is_form(answer.headers());
        let parsed = token::parse_response(answer.status().as_u16(), answer.body(), is_form);
        let mut tokens = parsed.map_err(|error| match error {
            TokenError::Refused(code) => {
                let known = |code: &String| oauth2?.error_codes.get(code).cloned();
                refusal(url, answer, code.map(|code| known(&code).unwrap_or(code)))
            }
            TokenError::Malformed(what) => ProviderError::Malformed(what),
        });
        if let (Some(_), Ok(TokenResponse { scopes: Some(scopes), .. })) = (oauth2, &mut tokens) {
            *scopes = scopes.iter().flat_map(|scope| token::scopes(&scope.replace(',', " "))).collect();
        }
        // A refusal in the words of the specification comes from itself, and from no machine before it.
        let is_there = |error: &ProviderError| match error {
            ProviderError::Refused(refusal) => refusal.remedy() != RefusalRemedy::Unclear,
            _ => false,
        };
        if tokens.as_ref().err().is_none_or(is_there) {
            *self.breaker.lock() = Breaker::new();
        }
        tokens
    }

    /// RFC 7009: revokes a token, where the provider offers that.
    pub(crate) async fn revoke(self: &Arc<Self>, token: &Secret, hint: &str) -> Result<(), ProviderError> {
        let known = self.metadata().await?;
        let Some(endpoint) = &known.revocation_endpoint else { return Ok(()) };
        let (url, answer) = self.post(&known, known.revocation(endpoint, token, hint)).await?;
        if answer.status() == StatusCode::OK { Ok(()) } else { Err(refusal(url, &answer, None)) }
    }

    /// RFC 7662: asks about an access token for this application as an API.
    pub(crate) async fn introspect(
        self: &Arc<Self>, token: &Secret, audience: &str,
    ) -> Result<BearerToken, ProviderError> {
        let known = self.metadata().await?;
        if known.introspection_endpoint.is_none() {
            return Err(ProviderError::unavailable("its metadata name no introspection_endpoint"));
        }
        let (url, answer) = self.post(&known, known.introspection(token)).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(url, &answer, None));
        }
        let claims = json::object(answer.body()).ok_or(ProviderError::Malformed("introspection response"))?;
        let (issuer, now) = (&self.relying_party.issuer, self.clock.now());
        let read = access_token::from_introspection(claims, audience, issuer, now);
        read.map_err(|why| ProviderError::Statement("access token", why))
    }

    /// Whether an authorization request may be pushed, and whether it must be.
    pub(crate) fn pushes(&self, metadata: &Metadata) -> (bool, bool) {
        match self.relying_party.pushed_authorization_requests {
            PushedAuthorizationRequests::Auto => (metadata.par_endpoint.is_some(), metadata.requires_par),
            PushedAuthorizationRequests::Always => (true, true),
            PushedAuthorizationRequests::Never => (false, false),
        }
    }

    /// RFC 9126: hands the authorization request over and returns its `request_uri`.
    pub(crate) async fn push(
        &self, known: &ProviderClient, parameters: &[(String, String)],
    ) -> Result<String, ProviderError> {
        let (url, answer) = self.post(known, known.pushed(parameters)).await?;
        let members = json::object(answer.body()).unwrap_or_default();
        match (answer.status().as_u16(), json::text(&members, "request_uri")) {
            (200 | 201, Some(request_uri)) => Ok(request_uri.to_owned()),
            (400.., _) => Err(refusal(url, &answer, json::text(&members, "error").map(json::printable))),
            _ => Err(ProviderError::Malformed("pushed authorization response")),
        }
    }

    async fn get(&self, url: &str, accept: &'static str) -> Result<Bytes, ProviderError> {
        let answer = self.send(request(url, accept)?).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer.into_body());
        }
        // Redirects too: another origin must not speak for this one.
        let why = format!("{url} answered {status}, expected 200: is the issuer correct (OIDC_ISSUER)?");
        Err(ProviderError::unavailable(why))
    }

    /// Adds what proves this application. The body is wiped when it has been sent, and credentials are marked, so that
    /// nothing prints them. The answer comes with the endpoint's URL and how this application authenticated there, for
    /// events.
    async fn post(&self, at: &ProviderClient, built: Built) -> Result<(String, Response<Bytes>), ProviderError> {
        let request = built.map_err(ProviderError::Unavailable)?.map(Zeroizing::new);
        let auth = at.auth;
        let proof = self.proof(auth).await?;
        let mut request = request.map(|body| Zeroizing::new([body.as_slice(), proof.as_bytes()].concat()));
        let method = if auth == ClientAuthMethod::None { "no client secret" } else { auth.name() };
        let url = request.uri().to_string();
        let url = format!("{} ({method})", url.split('?').next().unwrap_or_default());
        if let Some(credentials) = request.headers_mut().get_mut(AUTHORIZATION) {
            credentials.set_sensitive(true);
        }
        let answer = self.send(request.map(Bytes::from_owner)).await?;
        Ok((url, answer))
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ProviderError> {
        let answer = self.outbound.send(request, CALL_DEADLINE, PROVIDER_BODY);
        timed(&self.clock, "provider", answer).await.map_err(ProviderError::unavailable)
    }
}

fn refusal(url: String, answer: &Response<Bytes>, code: Option<String>) -> ProviderError {
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    ProviderRefusal::new(url, answer.status().as_u16(), code, retry_after).into()
}

fn request(url: &str, accept: &'static str) -> Result<Request<Bytes>, ProviderError> {
    Request::get(url).header(ACCEPT, accept).body(Bytes::new()).map_err(ProviderError::unavailable)
}

/// RFC 6750 section 2.1; marked so that nothing prints it.
pub(crate) fn bearer(access_token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", access_token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An error with the error beneath it, for events: there the operator learns which of the two to look at.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let Some(source) = error.source() else { return text };
    // Some errors end with the text of the one beneath them.
    match text.strip_suffix(&source.to_string()) {
        Some(before) => format!("{before}{}", cause(source)),
        None => format!("{text} ({})", cause(source)),
    }
}
