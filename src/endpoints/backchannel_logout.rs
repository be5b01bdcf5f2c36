//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0): the provider itself says who is signed out.
//!
//! Nobody has to be signed in to come here, and no cookie counts: the token alone is believed, when all of it holds.
//!
//! 1. It ends the sessions that it names, at every process, and the grants that were theirs alone. A person's other
//!    grants outlive it, as they outlive their own logout.
//! 2. A session that began after it came lives on ([`SessionPayload::effect_of`](crate::sessions::identity::SessionPayload::effect_of) has the whole rule).
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
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::context::{EndpointAnswer, EndpointContext};
use super::end_session::end_kept;
use crate::clock::Timestamp;
use crate::error::RETRY_AFTER_SECONDS;
use crate::events::EventCode;
use crate::html::{is_form, response};
use crate::protocol::{LEEWAY, LogoutEffect, LogoutTarget, jws};
use crate::provider::cause;
use crate::records::{Loaded, Purpose, RecordKey};
use crate::sessions::{SessionPayload, SessionRecord, session_row};
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

pub(crate) async fn logout(context: &EndpointContext, body: &[u8]) -> EndpointAnswer {
    let runtime = &context.runtime;
    let token = token(&context.head.headers, body).map_err(|what| refused(runtime, what))?;
    // In a task of its own: a provider that hangs up has signed them out all the same, wholly.
    match runtime.tasks.spawn(receive(Arc::clone(runtime), token)).await {
        Ok(Ok(())) => Ok(response(StatusCode::OK, Bytes::new(), &[UNCACHED])),
        Ok(Err(LogoutError::Refused(why))) => Err(refused(runtime, &why)),
        Ok(Err(LogoutError::Incomplete(why))) => {
            runtime.events().emit(EventCode::LogoutIncomplete, None, why);
            Err(later())
        }
        Ok(Err(LogoutError::Unverified)) | Err(_) => Err(later()),
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

async fn receive(runtime: Arc<Runtime>, token: String) -> Result<(), LogoutError> {
    let claimed = jws::claimed_issuer(&token);
    // The token only says whose keys to try: those decide whose it is.
    let provider = claimed
        .and_then(|issuer| runtime.providers.of_issuer(&issuer))
        .ok_or_else(|| LogoutError::Refused("the logout token is not of a provider of ours: iss".to_owned()))?;
    let token = match provider.verify_logout_token(&token).await {
        Ok(token) => token,
        Err(error) if error.passes() => return Err(LogoutError::Unverified),
        Err(error) => return Err(LogoutError::Refused(error.to_string())),
    };
    let index = runtime.records.agree_on_index().await?;
    let key = Key(index.hash(&[b"logout token", token.target.issuer.as_bytes(), token.jti.as_bytes()]));
    let seen = RecordKey::new(Purpose::LogoutToken, key);
    // When it first came, and whether that is now: then whatever is here stood, whatever the clock of another process says.
    let (version, received_at, is_first) = match runtime.records.load::<(Timestamp, bool)>(&seen).await? {
        Loaded::Absent(version) => (version, runtime.next_moment(), true),
        // Not all was done then.
        Loaded::Found(found) if !found.value.1 => (Some(found.version), found.value.0, false),
        Loaded::Found(_) | Loaded::Unreadable => {
            return Err(LogoutError::Refused("the logout token came before: jti".to_owned()));
        }
    };
    let ended = end_all(&runtime, &LogoutTarget { received_at, ..token.target }, is_first).await;
    if let Err(LogoutError::Refused(_)) = ended {
        return ended;
    }
    // Whoever was faster has ended the same.
    let receipt = (received_at, ended.is_ok());
    let noted = runtime.records.swap(&seen, version, &receipt, token.spent_until, Vec::new()).await;
    ended?;
    noted?;
    runtime.sweep_in_time();
    Ok(())
}

/// The longest that a login can be under way after its ID token was issued, and some.
const LOGIN_UNDER_WAY: Duration = Duration::from_secs(5 * 60);

/// Ends what a token means, and what is about to begin of it.
async fn end_all(runtime: &Arc<Runtime>, target: &LogoutTarget, is_first: bool) -> Result<(), LogoutError> {
    let user = target.subject.as_deref().map(|subject| (target.issuer.as_str(), subject));
    // First: a login that is being finished finds the note, or its session is found.
    if note_end(runtime, target).await? {
        runtime.events().emit(EventCode::LoggedOut, user, "by the provider");
        return Ok(());
    }
    match end_sessions(runtime, target, is_first).await? {
        LogoutEffect::Ends => {}
        LogoutEffect::OtherAlgorithm => {
            let why = "the logout token is not signed as the ID tokens of its sessions: alg";
            return Err(LogoutError::Refused(why.to_owned()));
        }
        LogoutEffect::None => {
            let detail = "its logout token names no session that is here";
            runtime.events().emit(EventCode::LogoutUnmatched, user, detail);
        }
    }
    Ok(())
}

/// Notes the end of sessions for what logins under way are about to begin, and for what browsers keep. True where browsers
/// keep all: then nothing else is to be done.
pub(crate) async fn note_end(runtime: &Runtime, target: &LogoutTarget) -> Result<bool, StoreError> {
    let (settings, now) = (&runtime.settings, runtime.now());
    // A callback that comes later asks whether the provider has ended the session in which it was started.
    let ends = [(settings.login_lifetime, LOGIN_UNDER_WAY), (settings.absolute_lifetime, LEEWAY)];
    let ends = ends.map(|(lifetime, more)| now.saturating_add(lifetime.saturating_add(more)));
    runtime.sessions.note_end(target, ends).await
}

/// Ends the sessions that are kept, and tries all of them, whichever fails. `is_first`: the logout comes now, and did not
/// come before. Returns the most that it meant for any of them.
pub(crate) async fn end_sessions(
    runtime: &Arc<Runtime>, target: &LogoutTarget, is_first: bool,
) -> Result<LogoutEffect, StoreError> {
    let (mut most, mut failed) = (LogoutEffect::None, Ok(()));
    let Some(tag) = target.tag(&runtime.records.agree_on_index().await?) else { return Ok(most) };
    for session in runtime.records.find(tag).await? {
        match end_session(runtime, (target, is_first), session).await {
            Ok(effect) => most = most.min(effect),
            Err(error) => failed = Err(error),
        }
    }
    failed.map(|()| most)
}

async fn end_session(
    runtime: &Arc<Runtime>, (target, is_first): (&LogoutTarget, bool), session: Key,
) -> Result<LogoutEffect, StoreError> {
    let row = RecordKey::new(Purpose::Session, session);
    let record = match runtime.records.load_expired_too::<SessionRecord>(&row).await? {
        Loaded::Found(found) => found.value,
        // It ended a moment ago, or is none.
        Loaded::Absent(_) => return Ok(LogoutEffect::None),
        Loaded::Unreadable => return Err(StoreError::refused(session_row::UNREADABLE)),
    };
    let stored_at = if is_first { Timestamp::default() } else { record.stored_at };
    let effect = SessionPayload { stored_at, ..record.identity.clone() }.effect_of(target);
    if effect == LogoutEffect::Ends {
        end_kept(runtime, session, &record, "by the provider").await?;
    }
    Ok(effect)
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
    response(status, body, &[UNCACHED, (CONTENT_TYPE, "application/json")])
}

/// Section 2.8: nothing of this is cached.
const UNCACHED: (HeaderName, &str) = (CACHE_CONTROL, "no-store");
