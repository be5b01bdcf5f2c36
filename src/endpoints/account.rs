//! The account that serves the whole application: who may connect it, and how it stands.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::context::EndpointContext;
use super::login_error::LoginError;
use super::sign_in::Issued;
use crate::clock::Timestamp;
use crate::config::connections::CheckedConnection;
use crate::config::shared_account::SharedAccount;
use crate::events::EventCode;
use crate::page;
use crate::protocol::fetch_metadata::Target;
use crate::protocol::id_token::IdToken;
use crate::records::FOREVER;
use crate::sessions::session::Session;
use crate::state::Runtime;
use crate::tokens::principal::Principal;
use crate::tokens::save::keep_grant;
use crate::tokens::user_claims::NewIdToken;

/// Whether the person of a session may connect or disconnect; else the answer. What is one's own is anybody's to grant,
/// what is the account's is an admin's.
pub(crate) fn admit(runtime: &Arc<Runtime>, session: &Arc<Session>) -> Result<(), Response<Bytes>> {
    let Some(account) = runtime.mode.account() else { return Ok(()) };
    if !session.is_admin(&runtime.settings.admins, || None) {
        return Err(page::plain(StatusCode::FORBIDDEN, "Only admins may do this."));
    }
    let configured = "This application's account is set in its configuration and cannot be changed here.";
    account.is_granted_by_hand().then_some(()).ok_or_else(|| page::plain(StatusCode::NOT_FOUND, configured))
}

/// What stands between an admin and the provider: they must mean it. A link of another site would otherwise put the
/// account they happen to be signed in with at the provider in the place of the right one.
pub(crate) fn confirm(
    context: &EndpointContext,
    connection: &CheckedConnection,
) -> Result<(), Response<Bytes>> {
    let runtime = &context.runtime;
    if runtime.mode.account().is_none() {
        return Ok(());
    }
    let ask = || {
        let action = format!("{}?{}", runtime.settings.path_to("connect"), context.query());
        let heading = format!(
            "Connect an account for everybody? All users of this application will use “{}” with the account that you \
             sign in with next.",
            connection.name
        );
        page::confirmation(&heading, &action, "Connect")
    };
    context.admit(Target::ConnectAccount, None, ask)
}

/// Keeps what an admin granted for everybody, in the place of what was there.
pub(crate) async fn keep(
    context: &EndpointContext,
    issued: &Issued<'_>,
    id_token: &IdToken,
    session: Option<&Arc<Session>>,
) -> Result<(), LoginError> {
    let runtime = &context.runtime;
    // The application may be configured otherwise since the admin was sent away, and the account and the admins with it.
    let still = |account: &&SharedAccount| {
        account.is_granted_by_hand() && session.is_none_or(|session| admit(runtime, session).is_ok())
    };
    let account = runtime.mode.account().filter(still).ok_or(LoginError::NotPending)?;
    if let Some(session) = session {
        NewIdToken::new(id_token, issued.tokens, issued.login.started_at).adopt(runtime, session).await?;
    }
    let principal = Principal::Account(Arc::clone(&account.name));
    keep_consented(context, &principal, issued, id_token, FOREVER).await?;
    let admin = session.map(|session| session.user());
    runtime.events().emit(EventCode::Connected, admin, &issued.connection.name);
    Ok(())
}

/// Keeps what was granted for its owner, in the place of what was there; until a session ends, where it ends with one.
pub(super) async fn keep_consented(
    context: &EndpointContext,
    principal: &Principal,
    issued: &Issued<'_>,
    id_token: &IdToken,
    session_ends_at: Timestamp,
) -> Result<(), LoginError> {
    let place = context.place_of(principal, issued.connection).await?;
    let grant = issued.grant(&place, Some(id_token.facts.clone()));
    place.fits(&grant, None).map_err(LoginError::TooLargeToCarry)?;
    keep_grant(&place, issued.connection.grant_lifetime, grant, session_ends_at).await?;
    Ok(())
}
