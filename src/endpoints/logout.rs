//! Logout: here first, then at the provider, then on to where the person wanted to go.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use subtle::ConstantTimeEq;

use super::context::EndpointContext;
use super::end_session::end_session;
use super::pending::{self, PendingLogout, PendingLookup};
use super::urls::logout_path;
use super::{login, silent};
use crate::config::destination::Destination;
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::EventCode;
use crate::page;
use crate::protocol::authorization::{MAX_REDIRECT, ResponseMode, with_parameters};
use crate::protocol::fetch_metadata::{Decision, Target};
use crate::protocol::logout::parameters;
use crate::secret::Secret;
use crate::sessions::session::Session;
use crate::state::Runtime;

/// What [`away`] sets, in bytes.
const REMOVALS: usize = 256;

pub(crate) async fn logout(context: &Arc<EndpointContext>) -> Response<Bytes> {
    let (runtime, head) = (&context.runtime, &context.head);
    let mut return_to = String::new();
    let mut token = None;
    for (name, value) in form_urlencoded::parse(context.query().as_bytes()) {
        match &*name {
            "return_to" => return_to = value.into_owned(),
            "token" => token = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok(),
            _ => {}
        }
    }
    let Ok(destination) = runtime.settings.destination(&return_to) else {
        return page::plain(StatusCode::BAD_REQUEST, "The address to go to is not one of this application.");
    };
    let had_cookie = context.session_cookie().is_some();
    let session = match context.signed_in().await {
        Ok(Some(session)) => session,
        // Twice, or without a session: the person is where they wanted to be.
        Ok(None) => {
            context.jar().filter(|_| had_cookie).map(|jar| jar.leave());
            return away(runtime, redirect(destination.as_str()), had_cookie);
        }
        Err(_) => return store_away(&logout_path(runtime, None, &destination)),
    };
    let token = token.is_some_and(|token| token.ct_eq(&session.logout_token).into());
    match context.decide(Target::Logout { token }) {
        Decision::Act => {}
        Decision::Ask => {
            let action = logout_path(runtime, None, &destination);
            return page::confirmation("Do you want to sign out?", &action, "Sign out");
        }
        Decision::Refuse => {
            runtime.events().emit(EventCode::CrossSiteRefused, Some(session.user()), "a logout");
            return page::plain(StatusCode::FORBIDDEN, "Another site asked to sign you out.");
        }
    }
    // In a task of its own: a browser that goes away has signed out all the same, wholly.
    let ending = {
        let (context, session) = (Arc::clone(context), Arc::clone(&session));
        async move { end_session(&context.runtime, session.id, Some(&session), context.jar()).await }
    };
    match runtime.tasks.spawn(ending).await {
        Ok(Ok(id_token)) => {
            runtime.events().emit(EventCode::LoggedOut, Some(session.user()), "by the person");
            let removals = REMOVALS + context.jar().map_or(0, |jar| jar.leave());
            let answer = leave(runtime, &head.headers, &session, id_token.as_ref(), &destination, removals);
            away(runtime, answer, true)
        }
        Ok(Err(_)) | Err(_) => store_away(&logout_path(runtime, Some(&session), &destination)),
    }
}

fn store_away(address: &str) -> Response<Bytes> {
    page::try_again("You cannot be signed out at the moment.", address)
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
        cookie::append(headers, settings.cookies.remove(&settings.session_cookie, SameSitePolicy::Lax));
        // Who signs out wants to be out: a silent login would bring them straight back.
        cookie::append(headers, silent::silence(runtime));
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
    let PendingLookup::Valid(pending) = pending::LOGOUT.find::<PendingLogout>(runtime, headers, &state)
    else {
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
