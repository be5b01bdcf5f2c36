//! The sessions of users in the hands of an administrator.

use std::sync::Arc;

use crate::endpoints::user_sessions::{Ending, UserSession};
use crate::error::Error;
use crate::secret::opaque;
use crate::state::Runtime;

/// The capability to list and end any user's sessions: for back offices, support and incident response.
///
/// Create it where the application starts, with [`OidcLayer::session_admin`](crate::OidcLayer::session_admin). It is no
/// extractor and in no extensions: no request holds it. A handler that gets it through the application's state must check
/// first who asks, for example with [`Admin`](crate::Admin).
///
/// A user is an issuer and a subject, as in [`CurrentUser`](crate::CurrentUser). A session that ends here ends in every process
/// within [`Config::max_staleness`](crate::Config::max_staleness), or at once if the store notifies, and with it the grants
/// that last as long as the session.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::extract::{Path, State};
/// use tower_oidc::{Admin, Error, SessionAdmin};
///
/// // `Router::with_state(auth.session_admin())`
/// async fn sign_out_everywhere(
///     _admin: Admin,
///     State(sessions): State<SessionAdmin>,
///     Path((issuer, subject)): Path<(String, String)>,
/// ) -> Result<(), Error> {
///     sessions.end_all_sessions(&issuer, &subject).await
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct SessionAdmin(pub(crate) Arc<Runtime>);

impl SessionAdmin {
    /// Lists the user's sessions, the newest login first. None of them is `current`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotInThisMode`](crate::ErrorKind::NotInThisMode) in stateless mode,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is unavailable.
    pub async fn sessions(&self, issuer: &str, subject: &str) -> Result<Vec<UserSession>, Error> {
        self.0.sessions_of((issuer, subject), None).await
    }

    /// Ends the session of this [id](UserSession::id). False if the user has no such session.
    ///
    /// # Errors
    ///
    /// Those of [`SessionAdmin::sessions`].
    pub async fn end_session(&self, issuer: &str, subject: &str, id: &str) -> Result<bool, Error> {
        let ending = Ending::One(id.to_owned());
        Ok(self.0.end_sessions_of((issuer, subject), ending, BY).await? > 0)
    }

    /// Ends all sessions of the user, and logins that are under way. In stateless mode, too, in each process that shares the
    /// store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the store is unavailable: some sessions may last, so
    /// repeat the call.
    pub async fn end_all_sessions(&self, issuer: &str, subject: &str) -> Result<(), Error> {
        self.0.end_sessions_of((issuer, subject), Ending::All, BY).await.map(drop)
    }
}

const BY: &str = "by an administrator";

opaque!(SessionAdmin);
