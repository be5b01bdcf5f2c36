//! The tokens of users in work that runs without a request.

use std::sync::Arc;

use super::access_token::AccessToken;
use super::add_access_token::AddAccessTokenLayer;
use super::api_client::ApiClient;
use super::connection_status::ConnectionStatus;
use super::user_tokens::UserTokens;
use crate::error::Error;
use crate::secret::opaque;
use crate::state::Runtime;
use crate::tokens::{DisconnectOutcome, Principal};

/// The capability to use any user's grants in work that runs without a request: nightly imports, reminders, queues.
///
/// Create it where the application starts, with [`OidcLayer::background_tokens`](crate::OidcLayer::background_tokens),
/// and pass it to the worker only. It is no extractor and in no extensions, and neither is the layer that creates it:
/// no request holds it. A handler that gets it nevertheless, through the application's state, can act as any user.
///
/// It reaches grants with [`GrantLifetime::Persistent`](crate::GrantLifetime::Persistent): of connections, and of the
/// login by [`Config::login_grant_lifetime`](crate::Config::login_grant_lifetime). Grants that end with a session
/// belong to one browser and are out of its reach. So it reaches no grants in stateless mode, and in single-user mode
/// those of the shared account only ([`BackgroundTokens::account`]).
///
/// ```
/// use tower_oidc::{BackgroundTokens, Error, ErrorKind};
///
/// // Where the application starts: `tokio::spawn(remind(auth.background_tokens(), people))`.
/// async fn remind(background: BackgroundTokens, people: Vec<(String, String)>) -> Result<(), Error> {
///     for (issuer, subject) in people {
///         let tokens = background.for_user(&issuer, &subject);
///         match tokens.client().get("https://api.example/calendar/today").await {
///             Err(error) if error.kind() == ErrorKind::ConsentRequired => continue,
///             answer => println!("{subject}: {}", answer?.text()),
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct BackgroundTokens(pub(crate) Arc<Runtime>);

/// The tokens of one user, or of the shared account, without a request.
///
/// If a grant is missing, disconnected or refused, the error is
/// [`ErrorKind::ConsentRequired`](crate::ErrorKind::ConsentRequired): no browser can be redirected, and the user is asked at
/// their next visit. For the shared account it is
/// [`ErrorKind::OperatorActionRequired`](crate::ErrorKind::OperatorActionRequired).
#[derive(Clone, Debug)]
pub struct OwnerTokens(UserTokens);

impl BackgroundTokens {
    /// The tokens of the user with this issuer and subject. Take both from [`CurrentUser`](crate::CurrentUser) when
    /// the user requests the work.
    pub fn for_user(&self, issuer: &str, subject: &str) -> OwnerTokens {
        let person = Principal::Offline { issuer: issuer.into(), subject: subject.into() };
        OwnerTokens(UserTokens::without_request(&self.0, person))
    }

    /// The tokens of the shared account; `None` in the other modes.
    pub fn account(&self) -> Option<OwnerTokens> {
        Some(OwnerTokens(UserTokens::without_request(&self.0, Principal::shared(&self.0.mode)?)))
    }
}

impl OwnerTokens {
    /// Returns a fresh access token for the registered resource that covers this URL.
    ///
    /// # Errors
    ///
    /// Those of [`UserTokens::access_token`], and
    /// [`ErrorKind::NoSuchConnection`](crate::ErrorKind::NoSuchConnection) if grants end with their session.
    pub async fn access_token(&self, url: &str) -> Result<AccessToken, Error> {
        self.0.access_token(url).await
    }

    /// An HTTP client that calls APIs as this owner.
    pub fn client(&self) -> ApiClient {
        self.0.client()
    }

    /// A layer with which any HTTP client calls APIs as this owner.
    pub fn layer(&self) -> AddAccessTokenLayer {
        self.0.layer()
    }

    /// Returns the connection's status. Reads the store only; makes no request to the provider.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`](crate::ErrorKind::NoSuchConnection), also if grants end with their session, or
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    pub async fn connection_status(&self, connection: &str) -> Result<ConnectionStatus, Error> {
        self.0.connection_status(connection).await
    }

    /// Disconnects a connection, for example when a user's record is deleted. See [`UserTokens::disconnect`].
    /// Background work cannot disconnect the shared account.
    ///
    /// # Errors
    ///
    /// Those of [`OwnerTokens::connection_status`], and
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) for the shared account.
    pub async fn disconnect(&self, connection: &str) -> Result<DisconnectOutcome, Error> {
        self.0.disconnect(connection).await
    }
}

opaque!(BackgroundTokens);
