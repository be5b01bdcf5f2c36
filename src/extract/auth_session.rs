//! Login and logout addresses, in the manner of the App Engine Users API.

use std::sync::Arc;

use http::Extensions;

use super::request::RequestState;
use crate::config::ProviderChoice;
use crate::endpoints::logout::{Logout, signed_out};
use crate::endpoints::user_sessions::{Ending, UserSession};
use crate::endpoints::{login, urls};
use crate::error::{DestinationError, Error};
use crate::protocol::{LoginOptions, Prompt};
use crate::secret::opaque;
use crate::sessions::Session;
use crate::store::Key;

/// The request's sign-in handle: addresses that sign this browser's user in or out.
///
/// It is an axum extractor. Addresses are paths of this application, for links. A destination is also a path of this
/// application, or a URL of its public origin; an empty destination is the public URL.
///
/// ```
/// use axum::response::Html;
/// use tower_oidc::{AuthSession, CurrentUser, Error};
///
/// async fn menu(user: Option<CurrentUser>, auth: AuthSession) -> Result<Html<String>, Error> {
///     Ok(Html(match user {
///         Some(_) => format!("<a href=\"{}\">Sign out</a>", auth.logout_url("/")?),
///         None => format!("<a href=\"{}\">Sign in</a>", auth.login_url("/inbox")?),
///     }))
/// }
/// ```
#[derive(Clone)]
pub struct AuthSession(pub(super) RequestState);

impl AuthSession {
    /// Reads the handle from the extensions of a request that passed the layer, for services without axum.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingLayer`](crate::ErrorKind::MissingLayer) if the request did not pass the layer.
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        RequestState::of(extensions).cloned().map(Self)
    }

    /// The address of a login that then redirects to `destination`.
    ///
    /// # Errors
    ///
    /// [`DestinationError`], if the destination is too long or not within this application.
    pub fn login_url(&self, destination: &str) -> Result<String, DestinationError> {
        self.login_url_with(destination, &LoginOptions::default())
    }

    /// Of whoever is signed in: somebody who is not cannot lose a session by a login.
    fn proof_key(&self) -> Option<Vec<u8>> {
        urls::proof_key(self.0.session.as_deref(), None)
    }

    /// Like [`AuthSession::login_url`], with options (`prompt`, `max_age`, …) for this one login.
    ///
    /// The user can change a link: a page that relies on a recent or strong authentication must also check
    /// [`CurrentUser::auth_time`](crate::CurrentUser::auth_time) and [`CurrentUser::acr`](crate::CurrentUser::acr).
    ///
    /// # Errors
    ///
    /// [`DestinationError`], if the destination is too long or not within this application, or the options have parameters
    /// that are too long or that no provider for logins allows.
    pub fn login_url_with(&self, destination: &str, options: &LoginOptions) -> Result<String, DestinationError> {
        let destination = self.0.runtime.settings.destination(destination)?;
        self.0.runtime.providers.check(None, options)?;
        let address = urls::path(&self.0.runtime, None, &destination, options);
        Ok(urls::with_proof(&self.0.runtime, self.proof_key().as_deref(), address))
    }

    /// Every provider for logins, each with the address of a login there that then redirects to `destination`. With
    /// several providers, [`AuthSession::login_url`] leads to a page with the same choices. Each address has those
    /// [parameters](LoginOptions::parameters) that its provider allows.
    ///
    /// # Errors
    ///
    /// [`DestinationError`], as for [`AuthSession::login_url_with`].
    pub fn login_choices(
        &self, destination: &str, options: &LoginOptions,
    ) -> Result<Vec<ProviderChoice>, DestinationError> {
        let destination = self.0.runtime.settings.destination(destination)?;
        self.0.runtime.providers.check(None, options)?;
        Ok(login::choices(&self.0.runtime, self.proof_key().as_deref(), &destination, options))
    }

    /// The address of a silent login (`prompt=none`, OpenID Connect Core 1.0 section 3.1.2.1): it signs the user in if
    /// the provider can do so without a question, and otherwise redirects to `destination` without a session.
    ///
    /// `None` if a user is signed in, and for a minute after a failed silent login or a logout: a page that redirects
    /// to this address does not loop.
    ///
    /// With several providers the login is at the first one; [`AuthSession::login_choices`] with
    /// `prompt=none` ([`Prompt::None`](crate::Prompt::None)) has an address for each.
    ///
    /// # Errors
    ///
    /// [`DestinationError`], if the destination is too long or not within this application.
    pub fn silent_login_url(&self, destination: &str) -> Result<Option<String>, DestinationError> {
        let options = LoginOptions::new().prompt(Prompt::None);
        let url = self.login_url_with(destination, &options)?;
        Ok(Some(url).filter(|_| self.0.session.is_none() && !self.0.head.was_silent))
    }

    /// The address that signs this request's user out and then redirects to `destination`.
    ///
    /// It contains a token of this session, so that a plain link works and other sites cannot make one.
    ///
    /// # Errors
    ///
    /// [`DestinationError`], if the destination is too long or not within this application.
    pub fn logout_url(&self, destination: &str) -> Result<String, DestinationError> {
        let destination = self.0.runtime.settings.destination(destination)?;
        Ok(urls::logout_path(&self.0.runtime, self.0.session.as_deref(), &destination))
    }

    /// Signs the person of this request out at once, and returns the address that their browser goes to next: the
    /// logout of the provider, if it has one and [`ProviderConfig::logout_at_provider`](crate::ProviderConfig::logout_at_provider)
    /// is on, which sends them on to `destination`; else `destination` itself. A handler that does not send them there
    /// leaves them signed in at the provider.
    ///
    /// The session is over when this returns, in every process, and with it the grants that last as long as the session.
    /// This request's answer removes its cookies: await this before the answer is made. What the request holds stays as
    /// it is, as [`CurrentUser`](crate::CurrentUser) says who sent it; [`UserTokens`](crate::UserTokens) hand out nothing
    /// more.
    ///
    /// Use it in handlers of POST, PUT, PATCH or DELETE: the layer refuses those of other sites. A GET can be asked for by
    /// any page; for a link there is [`AuthSession::logout_url`]. Where nobody is signed in, nothing happens and the
    /// address is `destination`.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::response::Redirect;
    /// use tower_oidc::{AuthSession, CurrentUser, Error};
    ///
    /// async fn delete_account(user: CurrentUser, auth: AuthSession) -> Result<Redirect, Error> {
    ///     // ... everything that is kept for user.issuer() and user.subject() ...
    ///     Ok(Redirect::to(&auth.log_out("/goodbye").await?))
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidDestination`](crate::ErrorKind::InvalidDestination), and nothing happened;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the store is away, and the person is not signed out.
    pub async fn log_out(&self, destination: &str) -> Result<String, Error> {
        let destination = self.0.runtime.settings.destination(destination)?;
        let Some(session) = &self.0.session else { return Ok(destination.as_str().to_owned()) };
        let RequestState { runtime, jar, .. } = &self.0;
        let (address, cookies) = Logout { runtime, session, jar, destination: &destination }.log_out().await?;
        session.end_with(self.0.head.number, cookies);
        Ok(address)
    }

    /// Lists the sessions of this request's user, the newest login first: for a page on which people see where they are
    /// signed in. It writes nothing.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::Json;
    /// use axum::extract::Path;
    /// use tower_oidc::{AuthSession, Error, UserSession};
    ///
    /// async fn sessions(auth: AuthSession) -> Result<Json<Vec<UserSession>>, Error> {
    ///     Ok(Json(auth.sessions().await?))
    /// }
    ///
    /// // POST: the layer refuses requests of other sites.
    /// async fn end(auth: AuthSession, Path(id): Path<String>) -> Result<String, Error> {
    ///     Ok(if auth.end_session(&id).await? { "ended" } else { "it has ended before" }.to_owned())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) if nobody is signed in or the session has ended,
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) for a request with an access token,
    /// [`ErrorKind::NotInThisMode`](crate::ErrorKind::NotInThisMode) in stateless mode, and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is unavailable.
    pub async fn sessions(&self) -> Result<Vec<UserSession>, Error> {
        let (runtime, session) = (&self.0.runtime, self.lasting().await?);
        runtime.sessions_of(session.user(), Some(runtime.session_row(session.id))).await
    }

    /// Ends the session of this [id](UserSession::id), with the grants that last as long as the session; in every process
    /// within [`Config::max_staleness`](crate::Config::max_staleness), or at once if the store notifies. False if the user has
    /// no such session, whoever else may have it. If it is the request's own, its answer removes the cookies.
    ///
    /// # Errors
    ///
    /// Those of [`AuthSession::sessions`].
    pub async fn end_session(&self, id: &str) -> Result<bool, Error> {
        Ok(self.end(|_| Ending::One(id.to_owned())).await? > 0)
    }

    /// Ends all sessions of this request's user except the request's own, and returns their number. Logins that are under way
    /// go on: [`AuthSession::end_all_sessions`] ends those, too.
    ///
    /// # Errors
    ///
    /// Those of [`AuthSession::sessions`]. While the store is unavailable some sessions may last: repeat the call.
    pub async fn end_other_sessions(&self) -> Result<usize, Error> {
        self.end(Ending::Others).await
    }

    /// Ends all sessions of this request's user, this one too, and logins that are under way. The answer removes this
    /// browser's cookies. To sign out at the provider as well, use [`AuthSession::end_other_sessions`] and then
    /// [`AuthSession::log_out`].
    ///
    /// In stateless mode it ends them in each process that shares the store.
    ///
    /// # Errors
    ///
    /// Those of [`AuthSession::sessions`] except [`ErrorKind::NotInThisMode`](crate::ErrorKind::NotInThisMode). While the
    /// store is unavailable some sessions may last: repeat the call.
    pub async fn end_all_sessions(&self) -> Result<(), Error> {
        self.end(|_| Ending::All).await.map(drop)
    }

    /// `ending` is made with the row of the request's own session.
    async fn end(&self, ending: impl FnOnce(Key) -> Ending) -> Result<usize, Error> {
        let (RequestState { runtime, jar, head, .. }, session) = (&self.0, self.lasting().await?);
        let ending = ending(runtime.session_row(session.id));
        let ended = runtime.end_sessions_of(session.user(), ending, "by the person").await?;
        if runtime.sessions.lasts(session, runtime.now()).await.is_ok_and(|lasts| !lasts) {
            jar.leave();
            session.end_with(head.number, signed_out(runtime).into());
        }
        Ok(ended)
    }

    /// The session of this request, which must still last.
    async fn lasting(&self) -> Result<&Arc<Session>, Error> {
        if self.0.bearer().is_some() {
            return Err(Error::forbidden("a request with an access token has no session"));
        }
        let session = self.0.session.as_ref().ok_or_else(|| self.0.unauthenticated())?;
        let lasts = self.0.runtime.sessions.lasts(session, self.0.runtime.now()).await?;
        lasts.then_some(session).ok_or_else(|| self.0.unauthenticated())
    }
}

opaque!(AuthSession);
