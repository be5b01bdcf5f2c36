//! Route layers that require a signed-in user, an admin, or a condition.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service};

use super::future::ResponseFuture;
use crate::endpoints::urls;
use crate::error::{Error, ErrorKind};
use crate::extract::current_user::CurrentUser;
use crate::extract::request::RequestState;
use crate::extract::user_tokens::UserTokens;
use crate::protocol::{LoginOptions, challenge};
use crate::secret::opaque;

/// A layer for routes, inside [`OidcLayer`](crate::OidcLayer): only requests that meet its condition reach the
/// handler. If no user is signed in, the response is a redirect to the login, or 401. If the signed-in user does not
/// meet the condition, it is 403.
///
/// ```
/// # use axum::{Router, routing::get};
/// # use tower_oidc::RequireLayer;
/// let admin: Router = Router::new().route("/admin", get(|| async { "hello" })).route_layer(RequireLayer::admin());
/// ```
#[derive(Clone)]
pub struct RequireLayer(Condition);

#[derive(Clone)]
enum Condition {
    Login,
    Admin,
    /// With what others are told.
    User(Arc<dyn Fn(&CurrentUser) -> bool + Send + Sync>, Cow<'static, str>),
    Authentication(Arc<LoginOptions>),
    Connection(Arc<str>),
    Scope(Arc<str>),
}

impl RequireLayer {
    /// Requires a signed-in user.
    pub fn login() -> Self {
        Self(Condition::Login)
    }

    /// Requires a signed-in admin.
    pub fn admin() -> Self {
        Self(Condition::Admin)
    }

    /// Requires a signed-in user for whom the condition is true: a claim, an e-mail domain, a recent authentication.
    pub fn user(condition: impl Fn(&CurrentUser) -> bool + Send + Sync + 'static) -> Self {
        Self(Condition::User(Arc::new(condition), "you may not do this".into()))
    }

    /// Requires a signed-in user with this role ([`CurrentUser::roles`]). Without it the response is 403.
    pub fn role(name: impl Into<String>) -> Self {
        Self::any_role([name])
    }

    /// Requires a signed-in user with one of these roles. Nobody has one of none.
    pub fn any_role(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let needed = format!("this needs the role {}", names.join(" or ")).into();
        Self(Condition::User(Arc::new(move |user| names.iter().any(|name| user.has_role(name))), needed))
    }

    /// Requires a signed-in user with all of these roles. An empty list is a mistake, and lets nobody in.
    pub fn all_roles(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let needed = format!("this needs the roles {}", names.join(" and ")).into();
        let has = move |user: &CurrentUser| !names.is_empty() && names.iter().all(|name| user.has_role(name));
        Self(Condition::User(Arc::new(has), needed))
    }

    /// Requires a signed-in user whose authentication context class (`acr`) is one of these. Whoever was authenticated otherwise is
    /// sent to the provider and back, or gets 401 with `login_url`; a client with an access token gets 401
    /// `insufficient_user_authentication` (RFC 9470). Where the provider authenticates them otherwise again, a page says so (403).
    ///
    /// List every class that suffices, because nothing says which of two is the better one.
    pub fn acr(values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::authentication(LoginOptions::new().acr_values(values))
    }

    /// Requires a signed-in user who was authenticated at the provider within this time (`auth_time`), with a minute of leeway.
    /// Others are sent to the provider and back, as by [`RequireLayer::acr`].
    pub fn recent(max_age: Duration) -> Self {
        Self::authentication(LoginOptions::new().max_age(max_age))
    }

    /// Requires an authentication of one of these classes and within this time, which one login then asks for. Two layers, each
    /// for one of them, would ask one after the other. A `prompt` of the options is not used. Their
    /// [parameters](LoginOptions::parameters) go along; one that the provider does not allow is left out, or refused at the login
    /// (400) where nobody is signed in.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_oidc::{LoginOptions, RequireLayer};
    /// let strong = LoginOptions::new().acr_values(["phr", "phrh"]).max_age(Duration::from_secs(300));
    /// let layer = RequireLayer::authentication(strong);
    /// ```
    pub fn authentication(options: LoginOptions) -> Self {
        // Without a question the provider could not do what is demanded.
        Self(Condition::Authentication(Arc::new(LoginOptions { prompt: None, ..options })))
    }

    /// Requires a signed-in user who has granted this connection. A user who has not is redirected to the provider, or
    /// gets 403 with `connect_url`.
    pub fn connection(name: impl Into<String>) -> Self {
        Self(Condition::Connection(name.into().into()))
    }

    /// Requires a signed-in user, and this scope of a request with an access token ([`Config::api`](crate::Config::api)): its
    /// user, or the client itself where [`Api::allow_clients`](crate::Api) is on. A session passes, because scopes limit
    /// what clients may do, and not users. Without the scope the response is 403 `insufficient_scope` (RFC 6750 section 3.1).
    pub fn scope(name: impl Into<String>) -> Self {
        Self(Condition::Scope(name.into().into()))
    }

    /// The connection that must be looked up in the store before the request may continue, if any.
    fn check(&self, state: &RequestState) -> Result<Option<(UserTokens, Arc<str>)>, Error> {
        match &self.0 {
            Condition::Login => state.require_user().map(|_| None),
            Condition::Admin => state.require_admin().map(|_| None),
            Condition::User(condition, _) if condition(&state.require_user()?) => Ok(None),
            Condition::User(_, needed) => Err(Error::new(ErrorKind::Forbidden, needed.clone())),
            Condition::Authentication(options) => match state.user() {
                Some(user) if user.is_authenticated(options) => Ok(None),
                Some(_) => Err(authentication_required(state, options)),
                None => Err(state.unauthenticated_for(options)),
            },
            Condition::Scope(name) => match state.bearer().and_then(|bearer| bearer.token()) {
                None => state.require_user().map(|_| None),
                Some((scopes, _)) if scopes.contains(&&**name) => Ok(None),
                Some(_) => Err(insufficient_scope(state, name)),
            },
            Condition::Connection(name) => Ok(Some((UserTokens::from_state(state)?, Arc::clone(name)))),
        }
    }
}

opaque!(RequireLayer);

/// The error that sends a user to the provider for another authentication. The callback looks at what came of it as
/// [`CurrentUser::is_authenticated`] does: whoever comes back passes, and whom the provider authenticates otherwise gets a page
/// that says so.
fn authentication_required(state: &RequestState, options: &LoginOptions) -> Error {
    let (runtime, bearer) = (&state.runtime, state.bearer());
    let provider = state.session.as_ref().or(bearer).and_then(|session| runtime.signed_in_at(session));
    // Elsewhere nothing says how users were authenticated.
    let provider = provider.filter(|one| one.relying_party.issuer.issues_id_tokens());
    if provider.is_none() || (options.acr_values.is_empty() && options.max_age.is_none()) {
        return Error::forbidden("this needs an authentication that nothing here can ask for");
    }
    let error = Error::new(ErrorKind::InsufficientAuthentication, "another authentication is needed");
    match runtime.settings.api.as_ref().filter(|_| bearer.is_some()) {
        Some(api) => error.with_challenge(api.challenge(&challenge::authentication(options))),
        None => {
            let path = |to: &_| urls::path(runtime, provider.map(|one| &**one), to, options);
            error.with_next_step(state.next_step(path))
        }
    }
}

/// The error of an access token without this scope (RFC 6750 section 3.1).
fn insufficient_scope(state: &RequestState, scope: &str) -> Error {
    let error = Error::new(ErrorKind::Forbidden, format!("the access token lacks the scope {scope}"));
    let Some(api) = &state.runtime.settings.api else { return error };
    error.with_challenge(api.challenge(&format!("error=\"insufficient_scope\", scope=\"{scope}\"")))
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Require { inner, require: self.clone() }
    }
}

/// The service of [`RequireLayer`].
#[derive(Clone, Debug)]
pub struct Require<S> {
    inner: S,
    require: RequireLayer,
}

impl<S, B, R> Service<Request<B>> for Require<S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let checked = RequestState::of(request.extensions()).and_then(|state| self.require.check(state));
        match checked {
            Ok(None) => ResponseFuture::passed(self.inner.call(request)),
            Ok(Some((tokens, name))) => ResponseFuture::after(&mut self.inner, async move {
                let required = tokens.require_connection(&name).await;
                required.map(|()| (request, None)).map_err(Error::into_response)
            }),
            Err(error) => ResponseFuture::answered(error.into_response()),
        }
    }
}
