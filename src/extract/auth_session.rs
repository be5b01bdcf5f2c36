//! Login and logout addresses, in the manner of the App Engine Users API.

use http::Extensions;

use super::request::RequestState;
use crate::config::ProviderChoice;
use crate::endpoints::logout::Logout;
use crate::endpoints::{login, urls};
use crate::error::{DestinationError, Error};
use crate::protocol::{LoginOptions, Prompt};
use crate::secret::opaque;

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
    /// [`DestinationError`], if the destination is too long or not within this application.
    pub fn login_url_with(
        &self,
        destination: &str,
        options: &LoginOptions,
    ) -> Result<String, DestinationError> {
        let destination = self.0.runtime.settings.destination(destination)?;
        let address = urls::path(&self.0.runtime, None, &destination, options);
        Ok(urls::with_proof(&self.0.runtime, self.proof_key().as_deref(), address))
    }

    /// Every provider for logins, each with the address of a login there that then redirects to `destination`. With
    /// several providers, [`AuthSession::login_url`] leads to a page with the same choices.
    ///
    /// # Errors
    ///
    /// [`DestinationError`], if the destination is too long or not within this application.
    pub fn login_choices(
        &self,
        destination: &str,
        options: &LoginOptions,
    ) -> Result<Vec<ProviderChoice>, DestinationError> {
        let destination = self.0.runtime.settings.destination(destination)?;
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
        let (address, cookies) =
            Logout { runtime, session, jar, destination: &destination }.log_out().await?;
        session.end_with(self.0.head.number, cookies);
        Ok(address)
    }
}

opaque!(AuthSession);
