//! The account that serves the whole application: who may connect it, and how it stands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::browser_session::NewIdToken;
use super::login_error::LoginFailure;
use super::sign_in::{Verified, is_of_domain, keep_grant, new_grant};
use crate::clock::Timestamp;
use crate::config::connection::{Connections, Registered, Retention};
use crate::config::mode::Holder;
use crate::config::shared_account::{Account, AccountState, AccountStatus};
use crate::events::EventCode;
use crate::extract::current_user::CurrentUser;
use crate::page;
use crate::provider::relying_party::ProviderId;
use crate::records::FOREVER;
use crate::records::grant::{Consent, Owner};
use crate::sessions::session::Session;
use crate::state::Runtime;
use crate::tokens::access_token;
use crate::tokens::lookup::{NoToken, Want, stored};

/// A status waits for the provider no longer than this: whoever asks has a deadline too.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is said once a rotated refresh token is in memory only.
pub(crate) const ROTATED: &str = "the provider has rotated the account's refresh token, and the store does not outlive this process: use a durable \
     store, because at the next start the configured token is worth nothing";

/// Why the person of a session may not connect or disconnect; `None` where they may. What is one's own is anybody's
/// to grant, what is the account's is an admin's.
pub(crate) fn refusal(runtime: &Arc<Runtime>, session: &Arc<Session>) -> Option<Response<Bytes>> {
    let account = runtime.ownership.account()?;
    if !CurrentUser::new(Arc::clone(session), None, Arc::clone(runtime)).is_admin() {
        return Some(page::plain(StatusCode::FORBIDDEN, "Only admins may do this."));
    }
    let configured =
        "The account of this application stands in its configuration: nothing can be connected here.";
    (!account.is_granted_by_hand()).then(|| page::plain(StatusCode::NOT_FOUND, configured))
}

/// What stands between an admin and the provider: they must mean it. A link of another site would otherwise put the
/// account they happen to be signed in with at the provider in the place of the right one. `None` to go on.
pub(crate) fn confirmation(
    runtime: &Runtime,
    parts: &Parts,
    connection: &Registered,
) -> Option<Response<Bytes>> {
    runtime.ownership.account()?;
    if parts.method == Method::POST {
        if runtime.settings.same_origin(&parts.headers) == Some(true) {
            return None;
        }
        runtime.events().emit(EventCode::CrossSiteRefused, None, "a connection of the account");
        return Some(page::plain(StatusCode::FORBIDDEN, "Another site asked to connect an account."));
    }
    let query = parts.uri.query().unwrap_or_default();
    let action = format!("{}?{query}", runtime.settings.path_to("connect"));
    let heading = format!(
        "Connect an account for everybody? Whoever uses this application will use “{}” as the account that you sign \
         in with next.",
        connection.name
    );
    Some(page::confirmation(&heading, &action, "Connect"))
}

/// Keeps what an admin granted for everybody, in the place of what was there.
pub(crate) async fn keep(
    runtime: &Arc<Runtime>,
    connection: &Registered,
    asked: Consent,
    session: Option<&Arc<Session>>,
    verified: Verified<'_>,
) -> Result<(), LoginFailure> {
    // The application may be configured otherwise since the admin was sent away, and the account and the admins with it.
    let still = |account: &&Account| {
        account.is_granted_by_hand() && session.is_none_or(|session| refusal(runtime, session).is_none())
    };
    let account = runtime.ownership.account().filter(still).ok_or(LoginFailure::NotPending)?;
    is_of_domain(&verified)?;
    if let Some(session) = session {
        NewIdToken::new(verified.id_token, verified.tokens).adopt(runtime, session).await?;
    }
    let holder = Holder::Account(Arc::clone(account.name()));
    let place = runtime.place_of(&holder, connection, None).await?;
    let facts = Some(verified.id_token.facts.clone());
    let mut grant = new_grant(&place, connection, &asked.scopes, verified.tokens, facts, runtime.now());
    grant.consent = Some(asked);
    keep_grant(runtime, &place, Retention::User, grant, FOREVER).await?;
    let admin = session.and_then(|session| session.user());
    runtime.events().emit(EventCode::Connected, admin, &connection.name);
    Ok(())
}

/// How the account stands at each connection that serves something; nothing where people have their own tokens.
pub(crate) async fn status(runtime: &Arc<Runtime>) -> Vec<AccountStatus> {
    let mut statuses = Vec::new();
    let Some(account) = runtime.ownership.account() else { return statuses };
    for (connection, wants) in used(runtime.settings.connections(ProviderId::FIRST)) {
        let checked = tokio::time::timeout(PATIENCE, check(runtime, account, connection, &wants)).await;
        let checked = checked.unwrap_or_else(|_| Err(NoToken::Unavailable("no answer yet".into())));
        statuses.push(checked.unwrap_or_else(|no_token| {
            let (state, why) = match no_token {
                NoToken::Consent => (AccountState::NeedsOperator, account.remedy().to_owned()),
                NoToken::Unavailable(cause) => (AccountState::Unavailable, cause.to_string()),
            };
            let connection = connection.name.clone();
            AccountStatus { connection, state, expires_at: None, subject: None, why: Some(why) }
        }));
    }
    statuses
}

/// The connections with whose tokens APIs are called, and what is wanted of each.
fn used(connections: &Connections) -> Vec<(&Registered, Vec<Want>)> {
    let all = connections.all().iter().map(|connection| (connection, wants(connections, connection)));
    let mut used: Vec<_> = all.filter(|(_, wants)| !wants.is_empty()).collect();
    if used.is_empty() {
        // Without any API, the login's token still goes to where the provider says who it belongs to.
        let whole = |scopes: &[String]| Want { indicator: None, scopes: scopes.to_vec(), rejected: None };
        used.extend(connections.all().first().map(|login| (login, vec![whole(&login.scopes)])));
    }
    used
}

/// What requests want of a connection: a token for all that has no indicator, and one for each that has.
fn wants(connections: &Connections, connection: &Registered) -> Vec<Want> {
    let mut wants: Vec<Want> = Vec::new();
    for source in connections.resources().of(&connection.name) {
        if wants.iter().all(|want| want.indicator != source.indicator) {
            let (indicator, scopes) = (source.indicator.clone(), source.scopes.clone());
            wants.push(Want { indicator, scopes, rejected: None });
        }
    }
    wants
}

/// Asks for tokens as requests would: an account that nobody has used yet is not said to work.
async fn check(
    runtime: &Arc<Runtime>,
    account: &Account,
    connection: &Registered,
    wants: &[Want],
) -> Result<AccountStatus, NoToken> {
    let owner = Owner::Account { name: account.name().to_string() };
    let place = runtime.grant_place(owner, connection, None).await?;
    let mut expires_at: Option<Timestamp> = None;
    let mut away = Ok(());
    for want in wants {
        match access_token(runtime, &place, want).await {
            Ok(token) => expires_at = expires_at.into_iter().chain(token.expires_at).min(),
            // What only an operator can mend is not hidden by what passes.
            Err(NoToken::Consent) => return Err(NoToken::Consent),
            Err(unavailable) => away = Err(unavailable),
        }
    }
    away?;
    let grant = stored(runtime, &place).await?.ok_or(NoToken::Consent)?;
    let at_risk = grant.has_left_its_seed() && !runtime.records.is_durable();
    Ok(AccountStatus {
        connection: connection.name.clone(),
        state: if at_risk { AccountState::NeedsOperator } else { AccountState::Connected },
        expires_at,
        subject: grant.facts.as_ref().map(|facts| facts.subject.clone()),
        why: at_risk.then(|| ROTATED.to_owned()),
    })
}
