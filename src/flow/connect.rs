//! Connections: the person of a session grants more, takes it back, or sees how it stands.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use super::account;
use super::failure::LoginFailure;
use super::login::{Ask, Parameters, begin, query};
use super::pending::Intent;
use super::session::signed_in;
use super::sign_in::{Verified, is_of_domain, keep_grant, new_grant, revoke};
use super::{page, rendezvous};
use crate::carried::{Carried, TooLarge};
use crate::connection::{Connections, Registered, push_new};
use crate::cookie;
use crate::destination::Destination;
use crate::error::redirect;
use crate::events::EventCode;
use crate::grant::Consent;
use crate::mode::Holder;
use crate::protocol::authorization::LoginOptions;
use crate::protocol::token::scopes;
use crate::records::GrantPlace;
use crate::relying_party::ProviderId;
use crate::runtime::Runtime;
use crate::session::Session;
use crate::session_id::SessionId;
use crate::settings::encoded;
use crate::store::StoreError;

/// The address that asks the person to grant a connection.
pub(crate) fn path(runtime: &Runtime, connection: &str, destination: &Destination) -> String {
    let connect = runtime.settings.path_to("connect");
    format!("{connect}?connection={}&return_to={}", encoded(connection), encoded(destination.as_str()))
}

/// The same, with what is needed besides.
pub(crate) fn path_with(
    runtime: &Runtime,
    connection: &str,
    destination: &Destination,
    more_scopes: &[String],
    options: &LoginOptions,
) -> String {
    let mut address = path(runtime, connection, destination);
    if !more_scopes.is_empty() {
        address.push_str(&format!("&scope={}", encoded(&more_scopes.join(" "))));
    }
    address + &query(options)
}

pub(crate) async fn start(
    runtime: &Arc<Runtime>,
    parts: &Parts,
    carried: Option<&Arc<Carried>>,
) -> Response<Bytes> {
    let bad_request = |refusal: &str| page::plain(StatusCode::BAD_REQUEST, refusal);
    let parsed = Parameters::parse(parts.uri.query().unwrap_or_default())
        .and_then(|given| Ok((given.destination(runtime)?, given.options()?, given)));
    let (destination, options, given) = match parsed {
        Ok(parsed) => parsed,
        Err(refusal) => return bad_request(&refusal),
    };
    let name = given.get("connection").unwrap_or_default();
    let more = match given.bounded("scope") {
        Ok(scope) => scope.map(scopes).unwrap_or_default(),
        Err(refusal) => return bad_request(&refusal),
    };
    // A link must not talk people into granting what the application never asks for.
    let known = |connections: &Connections| {
        connections.named(name).map(|connection| more.iter().all(|scope| connection.knows(scope)))
    };
    let by_provider =
        runtime.providers.logins().map(|provider| runtime.settings.connections(provider.relying_party.id));
    match by_provider.filter_map(known).max() {
        None => return bad_request("There is no connection of that name."),
        Some(false) => return bad_request("There is no such scope to be asked for."),
        Some(true) => {}
    }
    let here = path_with(runtime, name, &destination, &more, &options);
    let session = match signed_in(runtime, &parts.headers).await {
        Ok(Some(session)) => session,
        // First the person, then what they grant.
        Ok(None) => match runtime.settings.destination(&here) {
            Ok(here) => return redirect(&runtime.settings.login_path(&here)),
            Err(_) => return bad_request("The address to come back to is too long."),
        },
        Err(_) => return page::try_again("Nothing can be granted at the moment.", &here),
    };
    let connections = runtime.connections_of(&runtime.ownership.granted_to(&session));
    let connection = connections.and_then(|connections| connections.named(name));
    let Some(connection) = connection.filter(|connection| more.iter().all(|scope| connection.knows(scope)))
    else {
        return bad_request("There is no such scope to be asked for.");
    };
    if let Some(answer) =
        account::refusal(runtime, &session).or_else(|| account::confirmation(runtime, parts, connection))
    {
        return answer;
    }
    let granted = match granted(runtime, connection, &session, carried).await {
        Ok(granted) => granted,
        Err(_) => return page::try_again("Nothing can be granted at the moment.", &here),
    };
    // The union: what is asked for now must not take away what was granted before.
    let mut more_scopes = Vec::new();
    for scope in granted.iter().filter(|scope| connection.knows(scope)).chain(&more) {
        if !connection.scopes.contains(scope) {
            push_new(&mut more_scopes, scope);
        }
    }
    let intent =
        Intent::Connect { session: session.id.bytes(), connection: connection.name.clone(), more_scopes };
    let provider = Arc::clone(runtime.providers.get(connection.provider));
    begin(runtime, &parts.headers, &Ask { provider, destination, options, intent }, &here).await
}

async fn granted(
    runtime: &Arc<Runtime>,
    connection: &Registered,
    session: &Arc<Session>,
    carried: Option<&Arc<Carried>>,
) -> Result<Vec<String>, StoreError> {
    let holder = runtime.ownership.granted_to(session);
    let place = runtime.place_of(&holder, connection, carried).await?;
    // What cannot be read is granted anew.
    let (granted, _) = rendezvous::newest(runtime, &place).await?;
    Ok(granted.map(|grant| grant.scopes.clone()).unwrap_or_default())
}

/// The session in which a connection was started, if it still is the browser's; `None` for a login.
pub(crate) async fn session(
    runtime: &Runtime,
    headers: &HeaderMap,
    intent: &Intent,
) -> Result<Option<Arc<Session>>, LoginFailure> {
    let Intent::Connect { session, .. } = intent else { return Ok(None) };
    let id = SessionId::new(*session);
    let found = match cookie::find(headers, &runtime.settings.session_cookie) {
        Some(_) => signed_in(runtime, headers).await?,
        // A cross-site POST comes without the cookie; one that comes must be the same.
        None => runtime.sessions.find(id, &runtime.records, runtime.now()).await?,
    };
    found.filter(|session| session.id == id).map(Some).ok_or(LoginFailure::SessionOver)
}

/// Keeps what the person granted, if it was that person.
pub(crate) async fn keep(
    runtime: &Arc<Runtime>,
    connection: &Registered,
    asked: Consent,
    session: Arc<Session>,
    carried: Option<&Arc<Carried>>,
    verified: Verified<'_>,
) -> Result<(), LoginFailure> {
    let holder = runtime.ownership.granted_to(&session);
    if let Err(refusal) = is_theirs(&holder, &verified) {
        revoke(verified.provider, verified.tokens).await;
        return Err(refusal);
    }
    // The exchange took time: whoever signed out meanwhile gets nothing kept.
    if !runtime.sessions.lasts(&session, &runtime.records, runtime.now()).await? {
        revoke(verified.provider, verified.tokens).await;
        return Err(LoginFailure::SessionOver);
    }
    let now = runtime.now();
    let place = runtime.place_of(&holder, connection, carried).await?;
    let mut grant = new_grant(&place, connection, &asked.scopes, &verified, now);
    grant.consent = Some(asked);
    if let Err(TooLarge) = rendezvous::fits(&place, &grant) {
        revoke(verified.provider, verified.tokens).await;
        return Err(LoginFailure::TooLarge);
    }
    keep_grant(runtime, &place, connection.retention, grant, session.ends_at).await?;
    runtime.events().emit(EventCode::Connected, session.user(), &connection.name);
    Ok(())
}

/// Whether what was granted is the person's to keep. At the provider where they signed in it is, when it is that
/// account's; at another one they link whichever account they can sign in to there.
fn is_theirs(holder: &Holder, verified: &Verified<'_>) -> Result<(), LoginFailure> {
    let facts = &verified.id_token.facts;
    let is_another = |(issuer, subject)| facts.issuer == issuer && facts.subject != subject;
    if holder.person().is_some_and(is_another) {
        return Err(LoginFailure::AccountMismatch);
    }
    is_of_domain(verified)
}

/// What became of a connection that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnected {
    /// There was nothing to take back.
    NotConnected,
    /// It is gone here, and the provider has revoked the token.
    Revoked,
    /// It is gone here. The provider offers no revocation, or there was no token to revoke.
    Forgotten,
    /// It is gone here, and the provider did not revoke the token: it lives there until it expires.
    NotRevoked,
}

/// Deletes the grant, then has its token revoked (RFC 7009): the refresh token first, with which the provider should
/// end the access tokens too.
pub(crate) async fn disconnect(
    runtime: &Arc<Runtime>,
    place: GrantPlace,
    connection: &str,
) -> Result<Disconnected, StoreError> {
    // In a task of its own: a browser that goes away does not keep the token alive.
    let disconnecting = {
        let (runtime, connection) = (Arc::clone(runtime), connection.to_owned());
        async move { disconnect_now(&runtime, &place, &connection).await }
    };
    let disconnected = runtime.tasks.spawn(disconnecting).await;
    disconnected.unwrap_or_else(|error| Err(StoreError::new("the task that asked it ended", error)))
}

async fn disconnect_now(
    runtime: &Arc<Runtime>,
    place: &GrantPlace,
    connection: &str,
) -> Result<Disconnected, StoreError> {
    // First here: whatever the provider does, nobody gets a token of it any more.
    let (grant, deleted) = rendezvous::take(runtime, place).await?;
    runtime.events().emit(EventCode::Disconnected, place.user(), connection);
    let Some(grant) = grant.filter(|grant| grant.owner == place.owner) else {
        return Ok(if deleted { Disconnected::Forgotten } else { Disconnected::NotConnected });
    };
    let refresh_token = grant.refresh_token.map(|token| (token, "refresh_token"));
    let access_token = || grant.token_sets.into_iter().next().map(|set| (set.access_token, "access_token"));
    let Some((token, hint)) = refresh_token.or_else(access_token) else { return Ok(Disconnected::Forgotten) };
    let provider = runtime.provider_of(place);
    let offered = provider.metadata().await.is_ok_and(|metadata| metadata.revocation_endpoint.is_some());
    Ok(match provider.revoke(&token, hint).await {
        Ok(()) if offered => Disconnected::Revoked,
        Ok(()) => Disconnected::Forgotten,
        Err(_) => Disconnected::NotRevoked,
    })
}

/// `POST /auth/disconnect?connection=…&return_to=…`, for a form on a page.
pub(crate) async fn end(
    runtime: &Arc<Runtime>,
    parts: &Parts,
    carried: Option<&Arc<Carried>>,
) -> Response<Bytes> {
    let bad_request = |refusal: &str| page::plain(StatusCode::BAD_REQUEST, refusal);
    let parsed = Parameters::parse(parts.uri.query().unwrap_or_default())
        .and_then(|given| Ok((given.destination(runtime)?, given)));
    let (destination, given) = match parsed {
        Ok(parsed) => parsed,
        Err(refusal) => return bad_request(&refusal),
    };
    let name = given.get("connection").unwrap_or_default();
    if runtime.settings.connections(ProviderId::FIRST).named(name).is_none() {
        return bad_request("There is no connection of that name.");
    }
    if parts.method != Method::POST {
        let action =
            format!("{}?{}", runtime.settings.path_to("disconnect"), parts.uri.query().unwrap_or_default());
        return page::confirmation("Do you want to take this access back?", &action, "Disconnect");
    }
    if runtime.settings.same_origin(&parts.headers) != Some(true) {
        runtime.events().emit(EventCode::CrossSiteRefused, None, "a disconnection");
        return page::plain(StatusCode::FORBIDDEN, "Another site asked to take this access back.");
    }
    let session = signed_in(runtime, &parts.headers).await;
    if let Ok(Some(session)) = &session
        && let Some(answer) = account::refusal(runtime, session)
    {
        return answer;
    }
    let ended = async {
        let Some(session) = session? else { return Ok(None) };
        let holder = runtime.ownership.granted_to(&session);
        let connections = runtime.connections_of(&holder);
        let Some(connection) = connections.and_then(|connections| connections.named(name)) else {
            return Ok(None);
        };
        let place = runtime.place_of(&holder, connection, carried).await?;
        disconnect(runtime, place, &connection.name).await.map(Some)
    };
    match ended.await {
        Ok(Some(Disconnected::NotRevoked)) => page::page(
            StatusCode::OK,
            "Disconnected",
            "This application has forgotten the access. The service that gave it could not be told, so it may be \
             listed there until it expires.",
            &[(destination.as_str(), "Continue")],
        ),
        Ok(Some(_)) => redirect(destination.as_str()),
        Ok(None) => redirect(&runtime.settings.login_path(&destination)),
        Err::<_, StoreError>(_) => {
            page::try_again("Nothing can be disconnected at the moment.", destination.as_str())
        }
    }
}

/// `GET /auth/granted?return_to=…`: where a form that needed more access comes back to.
pub(crate) fn resumed(runtime: &Runtime, parts: &Parts) -> Response<Bytes> {
    let destination =
        Parameters::parse(parts.uri.query().unwrap_or_default()).and_then(|given| given.destination(runtime));
    match destination {
        Ok(destination) => page::page(
            StatusCode::OK,
            "Access was granted",
            "What you had sent needed it and was not carried out. Please go back and send it again.",
            &[(destination.as_str(), "Go back")],
        ),
        Err(refusal) => page::plain(StatusCode::BAD_REQUEST, &refusal),
    }
}
