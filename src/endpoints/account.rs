//! The account that serves the whole application: who may connect it, and how it stands.

use std::sync::Arc;

use http::StatusCode;

use super::context::{EndpointContext, OrRefusal};
use super::login_error::LoginError;
use super::sign_in::VerifiedTokens;
use crate::clock::Timestamp;
use crate::config::{CheckedConnection, SharedAccount};
use crate::events::EventCode;
use crate::page;
use crate::protocol::Target;
use crate::records::FOREVER;
use crate::sessions::Session;
use crate::state::Runtime;
use crate::tokens::{NewIdToken, Principal};

/// Whether the person of a session may connect or disconnect; else the answer. What is one's own is anybody's to grant,
/// what is the account's is an admin's.
pub(crate) fn admit(runtime: &Arc<Runtime>, session: &Arc<Session>) -> OrRefusal<()> {
    let principal = Principal::granted_by(session, &runtime.mode);
    let Some(account) = principal.account(runtime) else { return Ok(()) };
    if !runtime.is_admin(session) {
        return Err(page::plain(StatusCode::FORBIDDEN, "Only admins may do this."));
    }
    let configured = "This application's account is set in its configuration and cannot be changed here.";
    account.is_granted_by_hand().then_some(()).ok_or_else(|| page::plain(StatusCode::NOT_FOUND, configured))
}

/// What stands between an admin and the provider: they must mean it. A link of another site would otherwise put the
/// account they happen to be signed in with at the provider in the place of the right one.
pub(crate) fn confirm(context: &EndpointContext, owner: &Principal, connection: &CheckedConnection) -> OrRefusal<()> {
    let Principal::Account(_) = owner else { return Ok(()) };
    let ask = || {
        let action = format!("{}?{}", context.runtime.settings.path_to("connect"), context.query());
        let heading = format!(
            "Connect an account for everybody? All users of this application will use “{}” with the account that you \
             sign in with next.",
            connection.name
        );
        page::confirmation(&heading, &action, "Connect", context.runtime.settings.home.as_str())
    };
    context.admit(Target::ConnectAccount, None, ask)
}

impl VerifiedTokens<'_> {
    /// Keeps what an admin granted for everybody, in the place of what was there.
    pub(crate) async fn keep_for_everybody(&self, session: Option<&Arc<Session>>) -> Result<(), LoginError> {
        let Self { issued, id_token } = self;
        let runtime = &issued.context.runtime;
        // The application may be configured otherwise since the admin was sent away, and the account and the admins with it.
        let account = Principal::shared(&runtime.mode).ok_or(LoginError::NotPending)?;
        let by_hand = account.account(runtime).is_some_and(SharedAccount::is_granted_by_hand);
        if !by_hand || session.is_some_and(|session| admit(runtime, session).is_err()) {
            return Err(LoginError::NotPending);
        }
        if let Some(session) = session {
            NewIdToken::new(id_token, issued.tokens, issued.login.started_at).adopt(runtime, session).await?;
        }
        self.keep_for(&account, FOREVER).await?;
        let admin = session.map(|session| session.user());
        runtime.events().emit(EventCode::Connected, admin, &issued.connection.name);
        Ok(())
    }

    /// Keeps what was granted for its owner, in the place of what was there; until a session ends, where it ends with one.
    pub(super) async fn keep_for(&self, owner: &Principal, session_ends: Timestamp) -> Result<(), LoginError> {
        let Self { issued, id_token } = self;
        let context = issued.context;
        let place = context.runtime.place_of(owner, issued.connection, context.jar()).await?;
        let grant = issued.grant(&place, Some(id_token.facts.clone()));
        place.fits(&grant, None).map_err(LoginError::TooLargeToCarry)?;
        place.keep(grant, issued.connection.grant_lifetime.kept_until(session_ends)).await?;
        Ok(())
    }
}
