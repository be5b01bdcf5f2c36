//! The tokens of the person of this request, and of nobody else.

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use url::Url;

use super::access_token::AccessToken;
use super::connection_status::{ConnectionState, ConnectionStatus};
use super::request::RequestState;
use crate::config::connection::GrantLifetime;
use crate::config::connections::{CheckedConnection, CheckedConnections};
use crate::config::resources::{ResourceRoute, parse};
use crate::endpoints::urls;
use crate::error::{Error, ErrorKind};
use crate::protocol::authorization::LoginOptions;
use crate::provider::Provider;
use crate::records::grant::{Grant, GrantStatus, LOGIN};
use crate::state::Runtime;
use crate::tokens::access_token;
use crate::tokens::disconnect::{DisconnectOutcome, disconnect};
use crate::tokens::hand_over::claim;
use crate::tokens::locate::GrantRef;
use crate::tokens::lookup::{TokenRequest, TokenUnavailable};
use crate::tokens::principal::Principal;

/// The OAuth tokens of the person who is signed in at this request: fresh, and for registered URLs only. In single-user
/// mode they are the account's; where nobody is signed in, those of [visitors](crate::Connection::allow_visitors).
///
/// Nothing here takes a user: the person is the session's. Each call looks at the session again, so that a task
/// which outlives it gets no more tokens.
///
/// A token that was obtained elsewhere cannot be put in: nothing would say whose it is. What is to be used here is
/// granted here, where the provider's answer names the person.
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
    principal: Principal,
}

impl UserTokens {
    pub(crate) fn from_state(state: &RequestState) -> Result<Self, Error> {
        Self::if_any(state).ok_or_else(|| state.unauthenticated())
    }

    /// `None` when nobody is signed in whose tokens they could be.
    pub(crate) fn if_any(state: &RequestState) -> Option<Self> {
        Some(Self { principal: state.principal()?, state: state.clone() })
    }

    /// For work that no request asks for.
    pub(crate) fn without_request(runtime: &Arc<Runtime>, principal: Principal) -> Self {
        Self { state: RequestState::without_request(Arc::clone(runtime)), principal }
    }

    /// For services without axum: from the extensions of a request that came through the layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] when nobody is signed in (never in single-user mode),
    /// [`ErrorKind::MissingLayer`] when the request did not come through the layer.
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::from_state(RequestState::of(extensions)?)
    }

    /// A fresh access token for the registered resource that covers this URL. The client releases it to that URL
    /// by itself; whoever takes it out answers for where it goes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoTokenForUrl`] when no resource covers the URL, [`ErrorKind::ConsentRequired`] when the person
    /// must grant access (again), [`ErrorKind::OperatorActionRequired`] when the account has no token (single-user mode),
    /// [`ErrorKind::Unauthenticated`] when their session ended, and [`ErrorKind::Unavailable`] while the provider or the
    /// store is away.
    pub async fn access_token(&self, url: &str) -> Result<AccessToken, Error> {
        if let Ok(connections) = self.configured()
            && let Some(source) = connections.resources().covering_plain(url)
            && let Some(connection) = Self::kept(connections, source)
        {
            return self.token_of(self.may_have(connection)?, source, None).await;
        }
        let source = parse(url).and_then(|url| self.source(&url));
        let source = source.ok_or_else(Error::no_token_for_url)?;
        self.token(&source, None).await
    }

    /// Where the provider answers who the person is, which is a resource by itself: the login's tokens may go there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] while the provider is away, [`ErrorKind::NoTokenForUrl`] when it has no UserInfo.
    pub async fn user_info_url(&self) -> Result<String, Error> {
        let metadata = self.provider()?.metadata().await;
        let metadata =
            metadata.map_err(|error| Error::unavailable("the provider is not available", error))?;
        metadata.userinfo_endpoint.as_ref().map(Url::to_string).ok_or_else(Error::no_token_for_url)
    }

    /// Makes sure that these scopes were granted for a resource: with `?` the person is asked for what is missing,
    /// together with what they granted before. A scope that is asked for so must be one of the resource's scopes or
    /// optional scopes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ConsentRequired`] when one is missing, [`ErrorKind::NoSuchConnection`] when there is no such
    /// resource or scope, and as [`UserTokens::access_token`].
    pub async fn require_scopes(&self, resource: &str, scopes: &[&str]) -> Result<(), Error> {
        let named = self.configured()?.resources().named(resource);
        let source = named.ok_or_else(|| Error::no_such_connection("there is no resource of this name"))?;
        if self.registered(&source.connection)?.single_use {
            return Err(Error::no_such_connection("this resource's connection is for one use"));
        }
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        if !self.may_ask(source, &scopes) {
            return Err(Error::no_such_connection(
                "a scope that is required is not among those of the connection",
            ));
        }
        let (_, grant) = self.grant(&source.connection).await?;
        match grant {
            Some(grant)
                if grant.status == GrantStatus::Active
                    && grant.covers_scopes(source.indicator.as_deref(), &scopes, self.runtime().now()) =>
            {
                Ok(())
            }
            _ => Err(self.consent_required(source, &scopes, &LoginOptions::default()).await),
        }
    }

    /// The address at which the person grants a connection, and then lands at `destination`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], or [`ErrorKind::InvalidDestination`].
    pub fn connect_url(&self, connection: &str, destination: &str) -> Result<String, Error> {
        let connection = self.registered(connection)?;
        let destination = self.runtime().settings.destination(destination)?;
        Ok(urls::connect_path(self.runtime(), &connection.name, &destination))
    }

    /// The address at which the person grants a connection for one use, and then lands at `destination`, whose handler
    /// finds a [`SingleUseToken`](crate::SingleUseToken). Nothing is kept, and what was kept before stays as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], or [`ErrorKind::InvalidDestination`].
    pub fn connect_single_use_url(&self, connection: &str, destination: &str) -> Result<String, Error> {
        Ok(self.connect_url(connection, destination)? + urls::once_in(true))
    }

    /// The address at which a connection is taken back, and the person then lands at `destination`: a form POSTs to it; a
    /// link to it shows a page that asks first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], or [`ErrorKind::InvalidDestination`].
    pub fn disconnect_url(&self, connection: &str, destination: &str) -> Result<String, Error> {
        let url = self.connect_url(connection, destination)?;
        let [connect, disconnect] =
            ["connect", "disconnect"].map(|name| self.runtime().settings.path_to(name));
        Ok(url.replacen(&connect, &disconnect, 1))
    }

    /// How a connection stands. It asks nobody but the store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], [`ErrorKind::Unauthenticated`] when the session ended, or
    /// [`ErrorKind::Unavailable`].
    pub async fn connection_status(&self, connection: &str) -> Result<ConnectionStatus, Error> {
        let registered = self.registered(connection)?.clone();
        let (_, grant) = self.grant(connection).await?;
        let provider = &self.runtime().providers.get(registered.provider).relying_party.name;
        Ok(ConnectionStatus::of(&registered, provider, grant, self.runtime().now()))
    }

    /// How every connection stands, besides the login's own.
    ///
    /// # Errors
    ///
    /// As [`UserTokens::connection_status`].
    pub async fn connections(&self) -> Result<Vec<ConnectionStatus>, Error> {
        let mut list = Vec::new();
        for connection in self.configured()?.others().filter(|one| self.principal.may_have(one)) {
            list.push(self.connection_status(&connection.name).await?);
        }
        Ok(list)
    }

    /// Takes a connection back: its tokens are gone here whatever the provider does, and the provider is asked to
    /// revoke them (RFC 7009). Doing so twice is no error.
    ///
    /// A provider that keeps one grant for each person and application, whatever was granted when, may end the tokens of
    /// the login and of other connections too; whoever is concerned is then asked to grant anew.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], [`ErrorKind::Unauthenticated`], or [`ErrorKind::Unavailable`] when the store
    /// is away, and then it is not gone.
    pub async fn disconnect(&self, connection: &str) -> Result<DisconnectOutcome, Error> {
        let registered = self.registered(connection)?;
        self.require_session().await?;
        self.state.may_disconnect()?;
        self.runtime().records.agree_on_index().await?;
        let place = self.place(registered).await?;
        Ok(disconnect(place).await?)
    }

    /// Hands over what was granted in this browser without signing in (see
    /// [`Connection::allow_visitors`](crate::Connection::allow_visitors)) to the person who is signed in now, and returns the
    /// names of the connections that are theirs by it. It is theirs alone from then on.
    ///
    /// Nothing else does so: several people may use a browser, and whoever signs in need not be the one who granted.
    /// Ask them. What they have granted themselves stays as it is, and so does what the browser has beside it; what an
    /// ID token says to be another account's is not handed over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] when nobody is signed in, and [`ErrorKind::Unavailable`] when the store is away.
    pub async fn adopt_visitor_grants(&self) -> Result<Vec<String>, Error> {
        let Some(session) = self.principal.session() else { return Err(self.state.unauthenticated()) };
        self.require_session().await?;
        let Some(visitor) = &self.state.head.visitor else { return Ok(Vec::new()) };
        claim(self.runtime(), **visitor, session, self.state.jar.as_ref()).await
    }

    /// Takes every connection back, besides the login's own, which ends with the session.
    ///
    /// # Errors
    ///
    /// As [`UserTokens::disconnect`], at the first that fails.
    pub async fn disconnect_all(&self) -> Result<Vec<(String, DisconnectOutcome)>, Error> {
        let mut ended = Vec::new();
        for connection in self.configured()?.others().filter(|one| self.principal.may_have(one)) {
            ended.push((connection.name.clone(), self.disconnect(&connection.name).await?));
        }
        Ok(ended)
    }

    /// A fresh token from its source. `rejected` is one that the API refused: it is not given out again.
    pub(crate) async fn token(
        &self,
        source: &ResourceRoute,
        rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        self.token_of(self.registered(&source.connection)?, source, rejected).await
    }

    async fn token_of(
        &self,
        connection: &CheckedConnection,
        source: &ResourceRoute,
        rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        self.require_session().await?;
        let place = self.place(connection).await?;
        let want = TokenRequest {
            indicator: source.indicator.clone(),
            scopes: source.scopes.clone(),
            rejected: rejected.map(|token| token.secret().clone()),
        };
        if let Some(token) = place.shown(&want) {
            return Ok(AccessToken::new(token));
        }
        // Boxed, as all that is awaited seldom: a future is moved as often as a handler's, and with the largest of its
        // ways.
        let token = Box::pin(access_token(&place, &want)).await;
        // Whoever signed out while the provider or the store was asked gets nothing of it.
        self.require_session().await?;
        match token {
            Ok(set) => Ok(AccessToken::new(set.access_token)),
            Err(TokenUnavailable::Consent) => {
                Err(Box::pin(self.consent_required(source, &[], &LoginOptions::default())).await)
            }
            Err(TokenUnavailable::Unavailable(cause)) => {
                Err(Error::unavailable("no fresh token can be had now", cause))
            }
        }
    }

    /// Where the token for a URL comes from; `None` when it gets none.
    pub(crate) fn source(&self, url: &Url) -> Option<Arc<ResourceRoute>> {
        let connections = self.configured().ok()?;
        if let Some(source) = connections.resources().covering(url) {
            return Self::kept(connections, source).map(|_| Arc::clone(source));
        }
        let metadata = self.provider().ok()?.known_metadata()?;
        let user_info = metadata.userinfo_endpoint.as_ref()?;
        (user_info == url).then(|| Arc::new(ResourceRoute::without_resource(LOGIN)))
    }

    /// A source's connection. Tokens for one use are not there to be had again.
    fn kept<'a>(
        connections: &'a CheckedConnections,
        source: &ResourceRoute,
    ) -> Option<&'a CheckedConnection> {
        connections.named(&source.connection).filter(|connection| !connection.single_use)
    }

    /// Whether all of these scopes may be asked for at the source's connection.
    pub(crate) fn may_ask(&self, source: &ResourceRoute, scopes: &[String]) -> bool {
        let connection = self.registered(&source.connection);
        connection.is_ok_and(|connection| scopes.iter().all(|scope| connection.knows(scope)))
    }

    /// The error that asks the person for what is missing. A person who was asked for all
    /// of it a moment ago is not sent again.
    pub(crate) async fn consent_required(
        &self,
        source: &ResourceRoute,
        scopes: &[String],
        options: &LoginOptions,
    ) -> Error {
        if self.principal.is_account() {
            return self.state.needs_operator(&source.connection);
        }
        if self.principal.is_absent() {
            return Error::new(ErrorKind::ConsentRequired, "the person must grant access (again)");
        }
        let asked = match self.grant(&source.connection).await {
            Ok((_, grant)) => grant.and_then(|grant| grant.consent.clone()),
            Err(error) => return error,
        };
        self.state.consent_required(&source.connection, scopes, options, asked.as_ref())
    }

    /// For [`RequireLayer::connection`](crate::RequireLayer::connection).
    pub(crate) async fn require_connection(&self, connection: &str) -> Result<(), Error> {
        match self.connection_status(connection).await?.state {
            ConnectionState::Connected => Ok(()),
            ConnectionState::SingleUse => Err(Error::no_such_connection("this connection is for one use")),
            ConnectionState::NotConnected | ConnectionState::NeedsConsent => {
                let source = ResourceRoute::without_resource(connection);
                Err(self.consent_required(&source, &[], &LoginOptions::default()).await)
            }
        }
    }

    async fn grant(&self, connection: &str) -> Result<(GrantRef, Option<Arc<Grant>>), Error> {
        let registered = self.registered(connection)?;
        self.require_session().await?;
        let place = self.place(registered).await?;
        let grant = place.stored().await.map_err(|error| match error {
            TokenUnavailable::Unavailable(cause) => Error::unavailable("the grant cannot be read now", cause),
            TokenUnavailable::Consent => Error::unavailable("the grant cannot be read now", "it is gone"),
        })?;
        Ok((place, grant))
    }

    async fn place(&self, connection: &CheckedConnection) -> Result<GrantRef, Error> {
        let reachable =
            connection.grant_lifetime == GrantLifetime::Persistent && self.runtime().mode.keeps_logins();
        if self.principal.is_absent() && !reachable {
            return Err(Error::no_such_connection(self.runtime().mode.out_of_reach()));
        }
        Ok(self.runtime().place_of(&self.principal, connection, self.state.jar.as_ref()).await?)
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
        self.principal.provider(self.runtime()).ok_or_else(|| match self.principal.is_absent() {
            true => Error::no_such_connection("nobody signs in at this issuer"),
            false => self.state.unauthenticated(),
        })
    }

    async fn require_session(&self) -> Result<(), Error> {
        let Some(session) = self.principal.session() else { return Ok(()) };
        let runtime = self.runtime();
        match runtime.sessions.lasts(session, runtime.now()).await? {
            true => Ok(()),
            false => Err(self.state.unauthenticated()),
        }
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.state.runtime
    }
}

impl fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserTokens").field("owner", &self.principal.owner()).finish_non_exhaustive()
    }
}
