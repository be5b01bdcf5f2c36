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
use super::context::{EndpointAnswer, EndpointContext};
use super::parameters::EndpointQuery;
use crate::events::EventCode;
use crate::html::response;
use crate::page;
use crate::protocol::{LogoutTarget, Target};
use crate::state::Runtime;

pub(crate) async fn logout(context: &EndpointContext) -> EndpointAnswer {
    context.admit(Target::FrontchannelLogout, None, page::nothing)?;
    let runtime = &context.runtime;
    let Some(target) = target(runtime, context.query()) else {
        let why = "a frame without iss and sid, or of no provider of ours";
        runtime.events().emit(EventCode::LogoutRefused, None, why);
        return Err(framed(StatusCode::BAD_REQUEST));
    };
    // In a task of its own: the frame may be gone before it is done.
    let shared = Arc::clone(runtime);
    let ended = runtime.tasks.spawn(async move { end_sessions(&shared, &target, true).await }).await;
    if let Ok(Err(error)) = &ended {
        runtime.events().emit(EventCode::LogoutIncomplete, None, error);
    }
    Ok(framed(if matches!(ended, Ok(Ok(_))) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }))
}

fn target(runtime: &Runtime, query: &str) -> Option<LogoutTarget> {
    let given = EndpointQuery::parse(query).ok()?;
    let filled = |name| given.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let (issuer, sid) = (filled("iss")?, Some(filled("sid")?));
    runtime.providers.of_issuer(&issuer)?;
    let (issued_at, received_at) = (u64::MAX, runtime.now());
    Some(LogoutTarget { issuer, subject: None, sid, issued_at, received_at, algorithm: None })
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
