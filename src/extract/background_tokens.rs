//! Work that no request asks for: the tokens of people who are not there.

use std::fmt;
use std::sync::Arc;

use super::access_token::AccessToken;
use super::add_access_token::AddAccessTokenLayer;
use super::api_client::ApiClient;
use super::connection_status::ConnectionStatus;
use super::user_tokens::UserTokens;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::state::Runtime;
use crate::tokens::disconnect::DisconnectOutcome;
use crate::tokens::principal::Principal;

/// The capability to use anybody's grants, for work that runs without them: nightly imports, reminders, queues.
///
/// Make it where the application starts, from [`OidcLayer::background_tokens`](crate::OidcLayer::background_tokens), and
/// hand it to the worker alone. No request holds it: it is no extractor, it is in no extensions, and neither is the
/// layer that makes it. A handler that has it all the same, through its application's state, can act as anybody.
///
/// It reaches what a person granted until they take it back: connections, or the login by
/// [`Config::login_grant_lifetime`](crate::Config::login_grant_lifetime), with [`GrantLifetime::Persistent`](crate::GrantLifetime::Persistent). What
/// belongs to a session is that browser's, and nobody else uses it. So it reaches nobody's in stateless mode, and in
/// single-user mode the account's alone ([`BackgroundTokens::account`]).
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
pub struct BackgroundTokens(Arc<Runtime>);

/// The tokens of one person, or of the application's one account, without a request.
///
/// What nobody granted, or was taken back or refused, is [`ErrorKind::ConsentRequired`]: there is nobody to be sent
/// anywhere, and the person is asked when they come. For the account it is [`ErrorKind::OperatorActionRequired`].
#[derive(Clone)]
pub struct OwnerTokens(UserTokens);

impl BackgroundTokens {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self(runtime)
    }

    /// The tokens of the person whom this issuer calls so. Both come from [`CurrentUser`](crate::CurrentUser), when the
    /// person asked for the work.
    pub fn for_user(&self, issuer: &str, subject: &str) -> OwnerTokens {
        let person = Principal::Offline { issuer: issuer.into(), subject: subject.into() };
        OwnerTokens(UserTokens::without_request(&self.0, person))
    }

    /// The tokens of the account that serves everybody; `None` where people have their own.
    pub fn account(&self) -> Option<OwnerTokens> {
        let account = Principal::Account(Arc::clone(self.0.mode.account()?.name()));
        Some(OwnerTokens(UserTokens::without_request(&self.0, account)))
    }
}

impl OwnerTokens {
    /// A fresh access token for the registered resource that covers this URL.
    ///
    /// # Errors
    ///
    /// As [`UserTokens::access_token`], and [`ErrorKind::NoSuchConnection`] where grants end with their session.
    pub async fn access_token(&self, url: &str) -> Result<AccessToken, Error> {
        self.0.access_token(url).await
    }

    /// An HTTP client that calls APIs as this owner.
    pub fn client(&self) -> ApiClient {
        self.0.client()
    }

    /// A layer that makes any other HTTP client call APIs as this owner.
    pub fn layer(&self) -> AddAccessTokenLayer {
        self.0.layer()
    }

    /// How a connection stands. It asks nobody but the store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchConnection`], also where grants end with their session, or [`ErrorKind::Unavailable`].
    pub async fn connection_status(&self, connection: &str) -> Result<ConnectionStatus, Error> {
        self.0.connection_status(connection).await
    }

    /// Takes a connection back, such as for a person whose record is deleted. See [`UserTokens::disconnect`]. What is
    /// the account's is not taken back by work.
    ///
    /// # Errors
    ///
    /// As [`OwnerTokens::connection_status`], and [`ErrorKind::Unauthenticated`] for the account's.
    pub async fn disconnect(&self, connection: &str) -> Result<DisconnectOutcome, Error> {
        self.0.disconnect(connection).await
    }
}

impl fmt::Debug for BackgroundTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackgroundTokens")
    }
}

impl fmt::Debug for OwnerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnerTokens").field(&self.0).finish()
    }
}
