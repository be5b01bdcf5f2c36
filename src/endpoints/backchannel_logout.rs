//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0): the provider itself says who is signed out.
//!
//! Nobody has to be signed in to come here, and no cookie counts: the token alone is believed, when all of it holds.
//!
//! 1. It ends the sessions that it names, at every process, and the grants that were theirs alone. A person's other
//!    grants outlive it, as they outlive their own logout.
//! 2. A session that began after it was issued lives on.
//! 3. 200 says that all of them have ended. 400 (section 2.8) says that the token is no good, or came before. 503 says
//!    that some may still live, because the store or the provider's keys were out of reach: the provider repeats it, and
//!    the same token works again, because its `jti` is noted last.
//! 4. A login that is under way begins no session that the provider has ended meanwhile. Where browsers keep their
//!    sessions, the same note stays as long as one can be shown; their grants are out of reach with them.
//! 5. Two that come at the same time end the same sessions: nothing of a replay remains to be feared.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::context::EndpointContext;
use super::end_session::end_grants;
use super::parameters::is_form;
use crate::error::RETRY_AFTER_SECONDS;
use crate::events::EventCode;
use crate::protocol::id_token::LEEWAY;
use crate::protocol::logout_token::{LogoutTarget, claimed_issuer};
use crate::provider::cause;
use crate::records::seal::Purpose;
use crate::records::{Loaded, RecordKey};
use crate::sessions::session::SessionRecord;
use crate::state::Runtime;
use crate::store::{Key, StoreError};

/// Why somebody may still be signed in.
enum LogoutError {
    /// It is not for us to do.
    Refused(String),
    /// It could not be verified now.
    Unverified,
    /// It was meant, and not all of it could be done.
    Incomplete(String),
}

impl From<StoreError> for LogoutError {
    fn from(error: StoreError) -> Self {
        Self::Incomplete(cause(&error))
    }
}

pub(crate) async fn logout(context: &EndpointContext, body: &[u8]) -> Response<Bytes> {
    let runtime = &context.runtime;
    let token = match token(&context.head.headers, body) {
        Ok(token) => token,
        Err(what) => return refused(runtime, what),
    };
    // In a task of its own: a provider that hangs up has signed them out all the same, wholly.
    let work = {
        let runtime = Arc::clone(runtime);
        async move { receive(&runtime, &token).await }
    };
    match runtime.tasks.spawn(work).await {
        Ok(Ok(())) => answer(StatusCode::OK, Bytes::new()),
        Ok(Err(LogoutError::Refused(why))) => refused(runtime, &why),
        Ok(Err(LogoutError::Unverified)) => later(),
        Ok(Err(LogoutError::Incomplete(why))) => {
            runtime.events().emit(EventCode::LogoutIncomplete, None, why);
            later()
        }
        Err(_) => later(),
    }
}

/// Section 2.5: a form with one parameter that counts.
fn token(headers: &HeaderMap, body: &[u8]) -> Result<String, &'static str> {
    if !is_form(headers) {
        return Err("it is not a form");
    }
    let mut tokens = form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Ok(token.into_owned()),
        (None, _) => Err("it has no logout_token"),
        (Some(_), Some(_)) => Err("it has several logout_token"),
    }
}

async fn receive(runtime: &Arc<Runtime>, token: &str) -> Result<(), LogoutError> {
    let claimed = claimed_issuer(token);
    // The token only says whose keys to try: those decide whose it is.
    let provider = claimed.and_then(|issuer| runtime.providers.of_issuer(&issuer)).ok_or_else(|| {
        LogoutError::Refused("the logout token is not of a provider of ours: iss".to_owned())
    })?;
    let token = match provider.verify_logout_token(token).await {
        Ok(token) => token,
        Err(error) if error.passes() => return Err(LogoutError::Unverified),
        Err(error) => return Err(LogoutError::Refused(error.to_string())),
    };
    let index = runtime.records.agree_on_index().await?;
    let key = Key(index.hash(&[b"logout token", token.target.issuer.as_bytes(), token.jti.as_bytes()]));
    let seen = RecordKey { purpose: Purpose::LogoutToken, key, owner: Vec::new() };
    let version = match runtime.records.load::<()>(&seen).await? {
        Loaded::Absent(version) => version,
        Loaded::Found(_) | Loaded::Unreadable => {
            return Err(LogoutError::Refused("the logout token came before: jti".to_owned()));
        }
    };
    end_all(runtime, &token.target).await?;
    // Whoever was faster has ended the same.
    runtime.records.swap(&seen, version, &(), token.spent_until, Vec::new()).await?;
    runtime.sweep_in_time();
    Ok(())
}

/// The longest that a login can be under way after its ID token was issued, and some.
const LOGIN_UNDER_WAY: Duration = Duration::from_secs(5 * 60);

/// Ends what a token means, and what is about to begin of it.
async fn end_all(runtime: &Arc<Runtime>, target: &LogoutTarget) -> Result<(), StoreError> {
    let jar = runtime.opened_grants.is_some();
    let longest = if jar { runtime.settings.absolute_lifetime + LEEWAY } else { LOGIN_UNDER_WAY };
    // First: a login that is being finished finds the note, or its session is found.
    runtime.sessions.note_meant(target, runtime.now().saturating_add(longest)).await?;
    if jar {
        let user = target.subject.as_deref().map(|subject| (target.issuer.as_str(), subject));
        runtime.events().emit(EventCode::LoggedOut, user, "by the provider");
        return Ok(());
    }
    if end_sessions(runtime, target).await? == 0 {
        let detail = "its logout token names no session that is here";
        runtime.events().emit(
            EventCode::LogoutUnmatched,
            target.subject.as_deref().map(|subject| (target.issuer.as_str(), subject)),
            detail,
        );
    }
    Ok(())
}

/// Ends the sessions that are kept, and tries all of them, whichever fails. Returns how many there were.
pub(crate) async fn end_sessions(runtime: &Arc<Runtime>, target: &LogoutTarget) -> Result<usize, StoreError> {
    let Some(tag) = target.tag(&runtime.records.agree_on_index().await?) else { return Ok(0) };
    let mut ended = Ok(0);
    for session in runtime.records.find(tag).await? {
        let one = end_session(runtime, target, session).await;
        ended = one.and_then(|one| ended.map(|all| all + usize::from(one)));
    }
    ended
}

async fn end_session(
    runtime: &Arc<Runtime>,
    target: &LogoutTarget,
    session: Key,
) -> Result<bool, StoreError> {
    let row = RecordKey { purpose: Purpose::Session, key: session, owner: Vec::new() };
    let record = match runtime.records.load_expired_too::<SessionRecord>(&row).await? {
        Loaded::Found(found) => found.value,
        // It ended a moment ago, or is none.
        Loaded::Absent(_) => return Ok(false),
        Loaded::Unreadable => {
            return Err(StoreError::refused("a session is sealed with a secret that is not configured"));
        }
    };
    if !record.is_meant_by(target) {
        return Ok(false);
    }
    runtime.sessions.end_row(session).await?;
    runtime.events().emit(EventCode::LoggedOut, Some(record.user()), "by the provider");
    end_grants(runtime, session, &record).await.map(|()| true)
}

fn refused(runtime: &Runtime, why: &str) -> Response<Bytes> {
    runtime.events().emit(EventCode::LogoutRefused, None, why);
    // Anybody may ask. What the token holds, and what was expected, is for the operator.
    let (what, rest) = why.split_once(": ").unwrap_or((why, ""));
    let brief = format!("{what}: {}", rest.split(' ').next().unwrap_or_default());
    failed(StatusCode::BAD_REQUEST, "invalid_request", brief.trim_end_matches(": "))
}

fn later() -> Response<Bytes> {
    let why = "not everybody could be signed out: repeat it";
    let mut answer = failed(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    answer
}

pub(crate) fn not_allowed() -> Response<Bytes> {
    let mut answer = failed(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "use POST");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    answer
}

fn failed(status: StatusCode, error: &str, why: &str) -> Response<Bytes> {
    let body = json!({ "error": error, "error_description": why }).to_string();
    let mut answer = answer(status, body.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Section 2.8: nothing of this is cached.
fn answer(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
