//! The tokens of the user of this request.

use std::sync::Arc;

use http::Extensions;
use url::Url;

use super::access_token::AccessToken;
use super::connection_status::{ConnectionState, ConnectionStatus};
use super::request::RequestState;
use crate::config::{CheckedConnection, CheckedConnections, ResourceRoute, resources};
use crate::endpoints::urls;
use crate::error::{Error, ErrorKind};
use crate::protocol::LoginOptions;
use crate::provider::{Provider, ProviderError};
use crate::records::{Grant, GrantStatus, LOGIN};
use crate::secret::opaque;
use crate::state::Runtime;
use crate::tokens::{
    DisconnectOutcome, GrantRef, Principal, TokenRequest, TokenUnavailable, VisitorGrants, access_token, disconnect,
};

/// The access tokens of the user who is signed in at this request: fresh, and for registered URLs only. In single-user
/// mode they are the shared account's; if no user is signed in, those of the
/// [visitor](crate::Connection::allow_visitors).
///
/// It is an axum extractor. No method takes a user: the owner is always the request's session. Each call checks the
/// session again, so that a task that outlives the session gets no more tokens.
///
/// Tokens from elsewhere cannot be added, because nothing would show their owner. Tokens come from a login or
/// connection of this layer, in which the provider's response names the user.
///
/// ```
/// use axum::Json;
/// use serde_json::Value;
/// use tower_oidc::{Error, UserTokens};
///
/// async fn agenda(tokens: UserTokens) -> Result<Json<Value>, Error> {
///     tokens.require_scopes("calendar", &["calendar.read"]).await?;
///     let answer = tokens.client().get("https://api.example/calendar/today").await?;
///     Ok(Json(answer.json()?))
/// }
/// ```
#[derive(Clone)]
pub struct UserTokens {
    state: RequestState,
    pub(super) principal: Principal,
}

impl UserTokens {
    pub(crate) fn from_state(state: &RequestState) -> Result<Self, Error> {
        let no_grant = || Error::forbidden("a request with an access token carries no grant of its user");
        let absent = || if state.bearer().is_some() { no_grant() } else { state.unauthenticated() };
        Self::if_any(state).ok_or_else(absent)
    }

    /// `None` when nobody is signed in whose tokens they could be.
    pub(crate) fn if_any(state: &RequestState) -> Option<Self> {
        Some(Self { principal: state.principal()?, state: state.clone() })
    }

    /// For work that no request asks for.
    pub(crate) fn without_request(runtime: &Arc<Runtime>, principal: Principal) -> Self {
        Self { state: RequestState::without_request(Arc::clone(runtime)), principal }
    }

    /// Reads the tokens from the extensions of a request that passed the layer, for services without axum.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] if no user is signed in (never in single-user mode), [`ErrorKind::MissingLayer`]
    /// if the request did not pass the layer.
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::from_state(RequestState::of(extensions)?)
    }

    /// Returns a fresh access token for the registered resource that covers this URL. The [client](UserTokens::client)
    /// adds the token to its requests by itself; a caller that takes the token out is responsible for its destination.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`] if no resource covers the URL, [`ErrorKind::ConsentRequired`] if the user must
    /// grant access (again), [`ErrorKind::OperatorActionRequired`] if the shared account has no token (single-user
    /// mode), [`ErrorKind::Unauthenticated`] if the session has ended, and [`ErrorKind::Unavailable`] while the
    /// provider or the store is unavailable.
    pub async fn access_token(&self, url: &str) -> Result<AccessToken, Error> {
        if let Ok(connections) = self.configured()
            && let Some(source) = connections.resources.covering_plain(url)
            && let Some(connection) = Self::kept(connections, source)
        {
            return self.token_of(self.may_have(connection)?, source, None).await;
        }
        let url = resources::parse(url).ok_or_else(Error::no_token_for_url)?;
        let source = self.source(&url).await?;
        self.token(&source, None).await
    }

    /// Returns the URL of the provider's UserInfo endpoint (OpenID Connect Core 1.0 section 5.3). It needs no
    /// registered resource: the login's tokens may be sent there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] while the provider is unavailable, [`ErrorKind::NoTokenForUrl`] if it has no
    /// UserInfo endpoint.
    pub async fn user_info_url(&self) -> Result<String, Error> {
        let metadata = self.provider()?.metadata().await.map_err(provider_away)?;
        metadata.userinfo_endpoint.as_ref().map(Url::to_string).ok_or_else(Error::no_token_for_url)
    }

    /// Checks that these scopes were granted for the resource of this name. If one is missing, `?` sends the user to
    /// the provider, which asks for the missing scopes together with those granted before. Each scope must be one of
    /// the resource's scopes or optional scopes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ConsentRequired`] if a scope is missing, [`ErrorKind::NoSuchConnection`] if the resource or a
    /// scope is not registered, and those of [`UserTokens::access_token`].
    pub async fn require_scopes(&self, resource: &str, scopes: &[&str]) -> Result<(), Error> {
        let named = self.configured()?.resources.named(resource);
        let source = named.ok_or_else(|| Error::no_such_connection("there is no resource of this name"))?;
        if self.registered(&source.connection)?.single_use {
            return Err(Error::no_such_connection("this resource's connection is for one use"));
        }
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        if !self.may_ask(source, &scopes) {
            return Err(Error::no_such_connection("a scope that is required is not among those of the connection"));
        }
        let (indicator, now) = (source.indicator.as_deref(), self.runtime().now());
        let covers =
            |grant: Arc<Grant>| grant.status == GrantStatus::Active && grant.covers_scopes(indicator, &scopes, now);
        if self.grant(&source.connection).await?.is_some_and(covers) {
            return Ok(());
        }
        Err(self.consent_required(&source.connection, &scopes, &LoginOptions::default()).await)
    }

    /// The address at which the user grants a connection; it then redirects to `destination`. It contains a proof for
    /// this user: another site's link shows a page that asks first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], or [`ErrorKind::InvalidDestination`].
    pub fn connect_url(&self, connection: &str, destination: &str) -> Result<String, Error> {
        Ok(self.with_proof(self.path_for("connect", connection, destination)?))
    }

    fn path_for(&self, endpoint: &str, connection: &str, destination: &str) -> Result<String, Error> {
        let connection = self.registered(connection)?;
        let destination = self.runtime().settings.destination(destination)?;
        Ok(urls::path_for(self.runtime(), endpoint, &connection.name, &destination))
    }

    fn with_proof(&self, address: String) -> String {
        let key = match &self.principal {
            Principal::Session(session) => urls::proof_key(Some(session), None),
            Principal::Visitor(visitor) => urls::proof_key(None, Some(*visitor)),
            Principal::Account(_) | Principal::Offline { .. } => None,
        };
        urls::with_proof(self.runtime(), key.as_deref(), address)
    }

    /// The address at which the user grants a connection for one use; it then redirects to `destination`, whose
    /// handler extracts a [`SingleUseToken`](crate::SingleUseToken). The grant is not kept, and an existing grant of
    /// the connection does not change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], or [`ErrorKind::InvalidDestination`].
    pub fn connect_single_use_url(&self, connection: &str, destination: &str) -> Result<String, Error> {
        let address = self.path_for("connect", connection, destination)?;
        Ok(self.with_proof(address + urls::once_in(true)))
    }

    /// The address that disconnects a connection and then redirects to `destination`. A form or a link of the
    /// application disconnects at once; another site's link shows a page that asks for confirmation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], or [`ErrorKind::InvalidDestination`].
    pub fn disconnect_url(&self, connection: &str, destination: &str) -> Result<String, Error> {
        self.path_for("disconnect", connection, destination)
    }

    /// Returns the connection's status. Reads the store only; makes no request to the provider.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], [`ErrorKind::Unauthenticated`] if the session has ended, or
    /// [`ErrorKind::Unavailable`].
    pub async fn connection_status(&self, connection: &str) -> Result<ConnectionStatus, Error> {
        let registered = self.registered(connection)?.clone();
        let grant = self.grant(connection).await?;
        let provider = &self.runtime().providers.get(registered.provider).relying_party.name;
        Ok(ConnectionStatus::of(&registered, provider, grant, self.runtime().now()))
    }

    /// Returns the status of every connection except the login. Reads the store only.
    ///
    /// # Errors
    ///
    /// Those of [`UserTokens::connection_status`].
    pub async fn connections(&self) -> Result<Vec<ConnectionStatus>, Error> {
        let mut list = Vec::new();
        for connection in self.configured()?.others().filter(|one| self.principal.may_have(one)) {
            list.push(self.connection_status(&connection.name).await?);
        }
        Ok(list)
    }

    /// Disconnects a connection: deletes its tokens here, and asks the provider to revoke them (RFC 7009). The tokens
    /// are deleted even if the provider does not answer. Disconnecting twice is no error.
    ///
    /// A provider that keeps one grant for each user and application may also end the tokens of the login and of other
    /// connections; their users are then asked for consent again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], [`ErrorKind::Unauthenticated`], or [`ErrorKind::Unavailable`] if the store is
    /// unavailable: the connection then stays.
    pub async fn disconnect(&self, connection: &str) -> Result<DisconnectOutcome, Error> {
        let registered = self.registered(connection)?;
        self.require_session().await?;
        self.state.may_disconnect(&self.principal)?;
        self.runtime().records.agree_on_index().await?;
        let place = self.place(registered).await?;
        Ok(disconnect(place).await?)
    }

    /// Transfers the grants that were made in this browser without a login (see
    /// [`Connection::allow_visitors`](crate::Connection::allow_visitors)) to the user who is signed in now. Returns
    /// the names of the transferred connections. From then on they belong to this user only.
    ///
    /// A login never does this by itself, because several people may use one browser: ask the user. Grants of the user
    /// stay, and a visitor's grant for the same connection then stays with the browser. A grant whose ID token names
    /// another account than the user's is not transferred.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] if no user is signed in, and [`ErrorKind::Unavailable`] if the store is
    /// unavailable.
    pub async fn adopt_visitor_grants(&self) -> Result<Vec<String>, Error> {
        let Some(session) = self.principal.session() else { return Err(self.state.unauthenticated()) };
        self.require_session().await?;
        let Some(visitor) = self.state.head.visitor() else { return Ok(Vec::new()) };
        let granted = VisitorGrants { runtime: self.runtime(), visitor, jar: &self.state.jar };
        Ok(granted.claim(session).await?)
    }

    /// Disconnects every connection except the login, which ends with the session. Returns the outcome for each
    /// connection.
    ///
    /// # Errors
    ///
    /// Those of [`UserTokens::disconnect`], at the first connection that fails.
    pub async fn disconnect_all(&self) -> Result<Vec<(String, DisconnectOutcome)>, Error> {
        let mut ended = Vec::new();
        for connection in self.configured()?.others().filter(|one| self.principal.may_have(one)) {
            ended.push((connection.name.clone(), self.disconnect(&connection.name).await?));
        }
        Ok(ended)
    }

    /// A fresh token from its source. `rejected` is one that the API refused: it is not given out again.
    pub(crate) async fn token(
        &self, source: &ResourceRoute, rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        self.token_of(self.registered(&source.connection)?, source, rejected).await
    }

    async fn token_of(
        &self, connection: &CheckedConnection, source: &ResourceRoute, rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        self.require_session().await?;
        let place = self.place(connection).await?;
        let rejected = rejected.map(|token| token.0.clone());
        let want = TokenRequest { rejected, ..TokenRequest::new(source.indicator.clone(), source.scopes.clone()) };
        if let Some(token) = place.known_token(&want) {
            return Ok(AccessToken(token));
        }
        // Boxed, as all that is awaited seldom: a future is moved as often as a handler's, and with the largest of its
        // ways.
        let token = Box::pin(access_token(&place, &want)).await;
        // Whoever signed out while the provider or the store was asked gets nothing of it.
        self.require_session().await?;
        match token {
            Ok(set) => Ok(AccessToken(set.access_token)),
            Err(TokenUnavailable::Consent) => {
                Err(Box::pin(self.consent_required(&source.connection, &[], &LoginOptions::default())).await)
            }
            Err(TokenUnavailable::Unavailable(cause)) => {
                Err(Error::unavailable("no fresh token can be had now", cause))
            }
            Err(TokenUnavailable::Operator(cause)) => {
                let message = "the provider refuses this application: its operator must correct the registration";
                Err(Error::new(ErrorKind::OperatorActionRequired, message).with_source(cause.to_string()))
            }
        }
    }

    /// Where the token for a URL comes from. The provider's metadata, which may not be here yet, say whether it is that of
    /// UserInfo.
    pub(crate) async fn source(&self, url: &Url) -> Result<Arc<ResourceRoute>, Error> {
        let connections = self.configured().map_err(|_| Error::no_token_for_url())?;
        if let Some(source) = connections.resources.covering(url) {
            let kept = Self::kept(connections, source).map(|_| Arc::clone(source));
            return kept.ok_or_else(Error::no_token_for_url);
        }
        let metadata = Box::pin(self.provider()?.metadata_soon()).await.map_err(provider_away)?;
        let is_user_info = metadata.userinfo_endpoint.as_ref() == Some(url);
        let user_info = || Arc::new(ResourceRoute { connection: LOGIN.to_owned(), ..ResourceRoute::default() });
        is_user_info.then(user_info).ok_or_else(|| connections.resources.none_covers(url))
    }

    /// A source's connection. Tokens for one use are not there to be had again.
    fn kept<'a>(connections: &'a CheckedConnections, source: &ResourceRoute) -> Option<&'a CheckedConnection> {
        connections.named(&source.connection).filter(|connection| !connection.single_use)
    }

    /// Whether all of these scopes may be asked for at the source's connection.
    pub(crate) fn may_ask(&self, source: &ResourceRoute, scopes: &[String]) -> bool {
        let connection = self.registered(&source.connection);
        connection.is_ok_and(|connection| scopes.iter().all(|scope| connection.knows(scope)))
    }

    /// The error that asks the person for what is missing. A person who was asked for all
    /// of it a moment ago is not sent again.
    pub(crate) async fn consent_required(&self, connection: &str, scopes: &[String], options: &LoginOptions) -> Error {
        if let Some(account) = self.principal.account(self.runtime()) {
            return self.state.needs_operator(account, connection);
        }
        if self.principal.is_absent() {
            return Error::new(ErrorKind::ConsentRequired, "the person must grant access (again)");
        }
        let grant = match self.grant(connection).await {
            Ok(grant) => grant,
            Err(error) => return error,
        };
        if grant.as_ref().is_some_and(|grant| grant.is_refused_again(self.runtime().now())) {
            return Error::new(ErrorKind::ConsentRequired, REFUSED_AGAIN);
        }
        let asked = grant.and_then(|grant| grant.consent.clone());
        self.state.consent_required(connection, scopes, options, asked.as_ref())
    }

    /// For [`RequireLayer::connection`](crate::RequireLayer::connection).
    pub(crate) async fn require_connection(&self, connection: &str) -> Result<(), Error> {
        match self.connection_status(connection).await?.state {
            ConnectionState::Connected => Ok(()),
            ConnectionState::SingleUse => Err(Error::no_such_connection("this connection is for one use")),
            ConnectionState::NotConnected | ConnectionState::NeedsConsent => {
                Err(self.consent_required(connection, &[], &LoginOptions::default()).await)
            }
        }
    }

    async fn grant(&self, connection: &str) -> Result<Option<Arc<Grant>>, Error> {
        let registered = self.registered(connection)?;
        self.require_session().await?;
        let place = self.place(registered).await?;
        Ok(place.stored().await?)
    }

    async fn place(&self, connection: &CheckedConnection) -> Result<GrantRef, Error> {
        if self.principal.is_absent() {
            self.runtime().mode.reaches(connection.grant_lifetime).map_err(Error::no_such_connection)?;
        }
        Ok(self.runtime().place_of(&self.principal, connection, &self.state.jar).await?)
    }

    fn registered(&self, connection: &str) -> Result<&CheckedConnection, Error> {
        let named = self.configured()?.named(connection);
        self.may_have(named.ok_or_else(|| Error::no_such_connection("there is no connection of this name"))?)
    }

    fn may_have<'a>(&self, connection: &'a CheckedConnection) -> Result<&'a CheckedConnection, Error> {
        // What a visitor may not grant, a person may.
        if self.principal.may_have(connection) { Ok(connection) } else { Err(self.state.unauthenticated()) }
    }

    /// What the person may grant, where they signed in.
    fn configured(&self) -> Result<&CheckedConnections, Error> {
        Ok(self.runtime().settings.connections(self.provider()?.relying_party.id))
    }

    fn provider(&self) -> Result<&Arc<Provider>, Error> {
        self.principal.provider(self.runtime()).ok_or_else(|| {
            let absent = || Error::no_such_connection("nobody signs in at this issuer");
            if self.principal.is_absent() { absent() } else { self.state.unauthenticated() }
        })
    }

    /// The session still lasts.
    pub(crate) async fn require_session(&self) -> Result<(), Error> {
        let Some(session) = self.principal.session() else { return Ok(()) };
        let runtime = self.runtime();
        let lasts = runtime.sessions.lasts(session, runtime.now()).await?;
        lasts.then_some(()).ok_or_else(|| self.state.unauthenticated())
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.state.runtime
    }
}

fn provider_away(error: ProviderError) -> Error {
    Error::unavailable("the provider is not available", error)
}

/// What a person is told whom another trip to the provider would not help.
const REFUSED_AGAIN: &str = "The service refused this application's access again, right after you had granted it. Please try \
     again in ten minutes, or ask the operator of this application.";

opaque!(UserTokens, |tokens| owner = tokens.principal.owner());
