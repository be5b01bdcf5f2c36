//! Front-channel logout (OpenID Connect Front-Channel Logout 1.0): the provider's page loads this in a frame, in the
//! browser of whoever signs out there.
//!
//! Our cookies stay at home in a frame of another site (`SameSite=Lax`), and none is needed: the `sid` says which
//! sessions end. It is the provider's random name for one of its own sessions, known to it, to that browser and to us.
//! Whoever learns one can end what it names and nothing else; that is why this is off unless it is wanted, and why
//! `iss` and `sid` must both be there (section 3: `frontchannel_logout_session_required`).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{Response, StatusCode};

use super::backchannel_logout::end_sessions;
use crate::events::EventCode;
use crate::html::response;
use crate::protocol::logout_token::LogoutTarget;
use crate::state::Runtime;

pub(crate) async fn logout(runtime: &Arc<Runtime>, query: &str) -> Response<Bytes> {
    let Some(target) = target(runtime, query) else {
        let why = "a frame without iss and sid, or of no provider of ours";
        runtime.events().emit(EventCode::LogoutRefused, None, why);
        return framed(StatusCode::BAD_REQUEST);
    };
    // In a task of its own: the frame may be gone before it is done.
    let ending = {
        let runtime = Arc::clone(runtime);
        async move { end_sessions(&runtime, &target, true).await }
    };
    match runtime.tasks.spawn(ending).await {
        Ok(Ok(_)) => framed(StatusCode::OK),
        Ok(Err(error)) => {
            runtime.events().emit(EventCode::LogoutIncomplete, None, error);
            framed(StatusCode::SERVICE_UNAVAILABLE)
        }
        Err(_) => framed(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn target(runtime: &Runtime, query: &str) -> Option<LogoutTarget> {
    let one = |wanted: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
        let value = values.next()?.1.into_owned();
        (values.next().is_none() && !value.is_empty()).then_some(value)
    };
    let (issuer, sid) = (one("iss")?, one("sid")?);
    let ours = runtime.providers.of_issuer(&issuer).is_some();
    let (issued_at, received_at) = (u64::MAX, runtime.now());
    let sid = Some(sid);
    ours.then_some(LogoutTarget { issuer, subject: None, sid, issued_at, received_at, algorithm: None })
}

/// Nothing to see, and unlike our pages it may stand in a frame.
fn framed(status: StatusCode) -> Response<Bytes> {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    response(status, "<!doctype html><title></title>", &headers)
}
