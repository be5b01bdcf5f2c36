//! Logout: here first, then at the provider, then on to where the person wanted to go.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use subtle::ConstantTimeEq;

use super::browser_session::signed_in;
use super::login;
use super::pending::{self, Pending, PendingLogout};
use crate::config::connection::{Connections, Retention};
use crate::config::destination::Destination;
use crate::config::mode::Holder;
use crate::config::settings::encoded;
use crate::cookie::{self, CrossSite};
use crate::error::redirect;
use crate::events::EventCode;
use crate::page;
use crate::protocol::authorization::{MAX_REDIRECT, ResponseMode, with_parameters};
use crate::protocol::logout::parameters;
use crate::records::Loaded;
use crate::records::grant::Owner;
use crate::records::grant_key::GrantPlace;
use crate::secret::Secret;
use crate::sessions::began::Began;
use crate::sessions::session::{Session, SessionRecord};
use crate::sessions::session_id::SessionId;
use crate::state::Runtime;
use crate::stateless::Carried;
use crate::store::{Key, StoreError};
use crate::tokens::coordination;

/// What [`away`] sets, in bytes.
const REMOVALS: usize = 256;

/// The path that ends this session and then goes to the destination.
pub(crate) fn logout_path(runtime: &Runtime, session: Option<&Session>, destination: &Destination) -> String {
    let path = runtime.settings.path_to("logout");
    let token = session.map(|session| format!("&token={}", URL_SAFE_NO_PAD.encode(session.logout_token)));
    format!("{path}?return_to={}{}", encoded(destination.as_str()), token.unwrap_or_default())
}

pub(crate) async fn logout(
    runtime: &Arc<Runtime>,
    parts: &Parts,
    carried: Option<&Arc<Carried>>,
) -> Response<Bytes> {
    let mut return_to = String::new();
    let mut token = None;
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "return_to" => return_to = value.into_owned(),
            "token" => token = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok(),
            _ => {}
        }
    }
    let Ok(destination) = runtime.settings.destination(&return_to) else {
        return page::plain(StatusCode::BAD_REQUEST, "The address to go to is not one of this application.");
    };
    let had_cookie = cookie::find(&parts.headers, &runtime.settings.session_cookie).is_some();
    let session = match signed_in(runtime, &parts.headers).await {
        Ok(Some(session)) => session,
        // Twice, or without a session: the person is where they wanted to be.
        Ok(None) => {
            carried.filter(|_| had_cookie).map(|carried| carried.leave());
            return away(runtime, redirect(destination.as_str()), had_cookie);
        }
        Err(_) => return store_away(&logout_path(runtime, None, &destination)),
    };
    let meant = match parts.method {
        Method::POST => match runtime.settings.same_origin(&parts.headers) {
            Some(true) => true,
            // Another site's form, or something that hides where it comes from.
            Some(false) | None => {
                runtime.events().emit(EventCode::CrossSiteRefused, session.user(), "a logout");
                return page::plain(StatusCode::FORBIDDEN, "Another site asked to sign you out.");
            }
        },
        _ => {
            token.is_some_and(|token| token.ct_eq(&session.logout_token).into())
                && !is_prefetch(&parts.headers)
        }
    };
    if !meant {
        let action = logout_path(runtime, None, &destination);
        return page::confirmation("Do you want to sign out?", &action, "Sign out");
    }
    // In a task of its own: a browser that goes away has signed out all the same, wholly.
    let ending = {
        let (runtime, session, carried) = (Arc::clone(runtime), Arc::clone(&session), carried.cloned());
        async move { end_session(&runtime, session.id, Some(&session), carried.as_ref()).await }
    };
    match runtime.tasks.spawn(ending).await {
        Ok(Ok(id_token)) => {
            runtime.events().emit(EventCode::LoggedOut, session.user(), "by the person");
            let removals = REMOVALS + carried.map_or(0, |carried| carried.leave());
            let answer = leave(runtime, &parts.headers, &session, id_token.as_ref(), &destination, removals);
            away(runtime, answer, true)
        }
        Ok(Err(_)) | Err(_) => store_away(&logout_path(runtime, Some(&session), &destination)),
    }
}

fn store_away(address: &str) -> Response<Bytes> {
    page::try_again("You cannot be signed out at the moment.", address)
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    let names = |header: &str| {
        headers.get(header).is_some_and(|value| {
            value.as_bytes().windows(8).any(|window| window.eq_ignore_ascii_case(b"prefetch"))
        })
    };
    names("sec-purpose") || names("purpose")
}

/// Ends a session and, where that is the session's own, its grant. Returns the ID token, for the provider.
///
/// `session` is what the browser shows of it, where browsers carry their sessions: `None` when all that is known is
/// the id.
pub(crate) async fn end_session(
    runtime: &Arc<Runtime>,
    id: SessionId,
    session: Option<&Arc<Session>>,
    carried: Option<&Arc<Carried>>,
) -> Result<Option<Secret>, StoreError> {
    let Some(carried) = carried else { return end_kept(runtime, id).await };
    let latest_end = runtime.now().plus(runtime.settings.absolute_lifetime);
    let ends_at = session.map_or(latest_end, |session| session.ends_at);
    runtime.sessions.end(id, ends_at, &runtime.records).await?;
    let Some(session) = session else { return Ok(None) };
    let holder = Holder::Session(Arc::clone(session));
    let connections = runtime.connections_of(&holder).map(Connections::all).unwrap_or_default();
    for connection in connections {
        let place = runtime.place_of(&holder, connection, Some(carried)).await?;
        end_grant(runtime, &place).await;
    }
    Ok(session.began().and_then(Began::take_id_token).or_else(|| carried.claims(session)?.id_token()))
}

async fn end_kept(runtime: &Arc<Runtime>, id: SessionId) -> Result<Option<Secret>, StoreError> {
    let row = id.row(runtime.records.keys());
    let record = match runtime.records.load_expired_too::<SessionRecord>(&row).await? {
        Loaded::Found(found) => Some(found.value),
        Loaded::Absent(_) | Loaded::Unreadable => None,
    };
    runtime.sessions.end(id, runtime.now(), &runtime.records).await?;
    let Some(record) = record else { return Ok(None) };
    end_grants(runtime, row.key, &record).await?;
    Ok(Some(record.id_token))
}

/// Ends the grants that were a session's own.
pub(crate) async fn end_grants(
    runtime: &Arc<Runtime>,
    session: Key,
    record: &SessionRecord,
) -> Result<(), StoreError> {
    let owner = Owner::User { issuer: record.issuer.clone(), subject: record.subject.clone() };
    // Where people do not sign in any more, nothing of the session's can be found. It expires with it.
    let signed_in_at = runtime.providers.of_issuer(&record.issuer);
    let connections =
        signed_in_at.map(|provider| runtime.settings.connections(provider.relying_party.id).all());
    let connections = connections.into_iter().flatten();
    for connection in connections.filter(|connection| connection.retention == Retention::Session) {
        let place = runtime.grant_place_in(owner.clone(), connection, Some(session)).await?;
        end_grant(runtime, &place).await;
    }
    Ok(())
}

/// Best effort: without its session the grant is out of reach, and it expires with it.
async fn end_grant(runtime: &Arc<Runtime>, place: &GrantPlace) {
    let taken = coordination::take(runtime, place).await;
    let provider = Arc::clone(runtime.provider_of(place));
    if let (true, Ok((Some(grant), _))) = (provider.relying_party.revoke_at_logout, taken)
        && let Some(refresh_token) = grant.refresh_token
    {
        runtime.tasks.spawn(async move {
            let _ = provider.revoke(&refresh_token, "refresh_token").await;
        });
    }
}

/// To the logout of the provider where the person signed in, where it has one, else straight on. It is not waited for.
fn leave(
    runtime: &Runtime,
    headers: &HeaderMap,
    session: &Session,
    id_token: Option<&Secret>,
    destination: &Destination,
    removals: usize,
) -> Response<Bytes> {
    let provider = runtime.signed_in_at(session).filter(|provider| provider.relying_party.logout_at_provider);
    let metadata = provider.and_then(|provider| provider.known_metadata());
    let endpoint = metadata.as_ref().and_then(|metadata| metadata.end_session_endpoint.as_ref());
    let (Some(provider), Some(endpoint)) = (provider, endpoint) else {
        return redirect(destination.as_str());
    };
    let state = runtime.random.token();
    let hint = id_token.map(Secret::expose_secret).filter(|hint| !hint.is_empty());
    let client_id = &provider.relying_party.client_id;
    let parameters = parameters(hint, client_id, runtime.settings.post_logout_url.as_str(), &state);
    let url = with_parameters(endpoint, parameters.iter().map(|(name, value)| (*name, value)));
    let return_to = destination.as_str().to_owned();
    let pending = PendingLogout { state: state.clone(), return_to };
    let kept = pending::LOGOUT.keep(runtime, ResponseMode::Query, &state, &pending);
    let size = kept.as_ref().map_or(0, HeaderValue::len) + removals;
    let length = url.as_str().len();
    let mut answer = if length <= MAX_REDIRECT && length + size <= login::HEADER_BUDGET {
        redirect(url.as_str())
    } else {
        // RP-Initiated Logout 1.0 section 2: providers must support POST.
        page::self_submitting(endpoint.as_str(), &parameters, &runtime.random.token())
    };
    for set in pending::only_this_logout(runtime, headers, size).into_iter().chain(kept) {
        cookie::append(answer.headers_mut(), set);
    }
    answer
}

fn away(runtime: &Runtime, mut answer: Response<Bytes>, had_cookie: bool) -> Response<Bytes> {
    let settings = &runtime.settings;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if had_cookie {
        cookie::append(headers, settings.cookies.remove(&settings.session_cookie, CrossSite::Lax));
        // Who signs out wants to be out: a silent login would bring them straight back.
        cookie::append(headers, login::silence(runtime));
    }
    answer
}

/// The browser comes back from the provider's logout: on to where it wanted to go.
///
/// Only with the `state` that was sent, in the browser that was sent (RP-Initiated Logout 1.0 section 3).
/// Everything else is a request like any other.
pub(crate) fn returned(runtime: &Runtime, uri: &Uri, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let query = uri.query()?;
    let (_, state) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state")?;
    let public = runtime.settings.public_path(uri.path());
    let expected = runtime.settings.post_logout_url.path();
    if public.trim_end_matches('/') != expected.trim_end_matches('/') {
        return None;
    }
    let Pending::Valid(pending) = pending::LOGOUT.find::<PendingLogout>(runtime, headers, &state) else {
        return None;
    };
    if !bool::from(pending.state.as_bytes().ct_eq(state.as_bytes())) {
        return None;
    }
    let destination = runtime.settings.destination(&pending.return_to).ok()?;
    let mut answer = redirect(destination.as_str());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(removal) = pending::LOGOUT.remove(runtime, &state) {
        cookie::append(answer.headers_mut(), removal);
    }
    Some(answer)
}
