//! Login and logout addresses, as the App Engine Users API gave them.

use std::fmt;
use std::sync::Arc;

use http::Extensions;

use super::request::RequestState;
use crate::config::hooks::ProviderChoice;
use crate::endpoints::{choose_provider, urls};
use crate::error::{DestinationError, Error};
use crate::protocol::authorization::LoginOptions;
use crate::sessions::session::Session;
use crate::state::Runtime;

/// Makes addresses that sign the person of this request in or out.
///
/// Addresses are paths of this application, to be put into links. A destination is a path of this application too,
/// or a URL of its public origin; the empty one is the public URL.
#[derive(Clone)]
pub struct AuthSession {
    runtime: Arc<Runtime>,
    session: Option<Arc<Session>>,
    was_silent: bool,
}

impl AuthSession {
    pub(crate) fn from_state(state: &RequestState) -> Self {
        Self {
            runtime: Arc::clone(&state.runtime),
            session: state.session.clone(),
            was_silent: state.head.was_silent,
        }
    }

    /// For services without axum: from the extensions of a request that came through the layer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingLayer`](crate::ErrorKind::MissingLayer) when it did not.
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        RequestState::of(extensions).map(Self::from_state)
    }

    /// The address that signs a person in, who then lands at `destination`.
    ///
    /// # Errors
    ///
    /// When the destination is too long or not one of this application.
    pub fn login_url(&self, destination: &str) -> Result<String, DestinationError> {
        self.login_url_with(destination, &LoginOptions::default())
    }

    /// The same, and what this one login asks for besides.
    ///
    /// What a link asks for is in the hands of who clicks it: a page that relies on a recent or strong
    /// authentication looks at [`CurrentUser::auth_time`](crate::CurrentUser::auth_time) and
    /// [`CurrentUser::acr`](crate::CurrentUser::acr) too.
    ///
    /// # Errors
    ///
    /// When the destination is too long or not one of this application.
    pub fn login_url_with(
        &self,
        destination: &str,
        options: &LoginOptions,
    ) -> Result<String, DestinationError> {
        let destination = self.runtime.settings.destination(destination)?;
        Ok(urls::path(&self.runtime, None, &destination, options))
    }

    /// Every provider that people can sign in at, with the address that signs a person in there, who then lands at
    /// `destination`. With several, [`AuthSession::login_url`] leads to a page that shows the same.
    ///
    /// # Errors
    ///
    /// When the destination is too long or not one of this application.
    pub fn login_choices(
        &self,
        destination: &str,
        options: &LoginOptions,
    ) -> Result<Vec<ProviderChoice>, DestinationError> {
        let destination = self.runtime.settings.destination(destination)?;
        Ok(choose_provider::choices(&self.runtime, &destination, options))
    }

    /// The address that signs a person in if the provider can do so without asking anything, and otherwise comes
    /// back as it was. `None` for a minute after that failed and after a logout, so that a page which redirects
    /// there does not do so for ever.
    ///
    /// With several providers it is the first that is asked; [`AuthSession::login_choices`] with
    /// [`LoginOptions::silent`] has an address for each.
    ///
    /// # Errors
    ///
    /// When the destination is too long or not one of this application.
    pub fn silent_login_url(&self, destination: &str) -> Result<Option<String>, DestinationError> {
        let options = LoginOptions { silent: true, ..LoginOptions::default() };
        let url = self.login_url_with(destination, &options)?;
        Ok(Some(url).filter(|_| self.session.is_none() && !self.was_silent))
    }

    /// The address that signs the person of this request out, who then lands at `destination`.
    ///
    /// It holds a token of this session, so that a plain link works and nobody else can make it.
    ///
    /// # Errors
    ///
    /// When the destination is too long or not one of this application.
    pub fn logout_url(&self, destination: &str) -> Result<String, DestinationError> {
        let destination = self.runtime.settings.destination(destination)?;
        Ok(urls::logout_path(&self.runtime, self.session.as_deref(), &destination))
    }
}

impl fmt::Debug for AuthSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}
