//! The layer's endpoints, one file for each path below `/auth`. They do the I/O; the rules are in `protocol` and
//! `config`.

#![expect(clippy::result_large_err, reason = "what refuses a request is its answer, and is moved once")]

pub(crate) mod account;
pub(crate) mod backchannel_logout;
pub(crate) mod callback;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod disconnect;
pub(crate) mod end_session;
pub(crate) mod frontchannel_logout;
pub(crate) mod initiate;
pub(crate) mod key_set;
pub(crate) mod login;
pub(crate) mod login_error;
pub(crate) mod logout;
pub(crate) mod parameters;
pub(crate) mod pending;
pub(crate) mod sign_in;
pub(crate) mod urls;
pub(crate) mod user_sessions;
pub(crate) mod visitor;

use std::sync::Arc;

use bytes::Bytes;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use self::context::EndpointContext;
use crate::events::timed;
use crate::page;
use crate::state::Runtime;

/// Answers a request for one of the layer's endpoints.
pub(crate) async fn endpoint(runtime: &Arc<Runtime>, endpoint: &str, parts: Parts, body: Bytes) -> Response<Bytes> {
    runtime.is_reached();
    if let (Some(provider), Some("development")) = (&runtime.development, endpoint.split('/').next()) {
        return provider.handle(Request::from_parts(parts, body));
    }
    // `callback/{name}`: with several providers, each has a redirect URI of its own.
    let (endpoint, at) = match endpoint.strip_prefix("callback/") {
        Some(name) => ("callback", Some(name)),
        None => (endpoint, None),
    };
    let context = Arc::new(EndpointContext::new(runtime, parts));
    let answered = match (endpoint, &context.head.method) {
        ("login", &Method::GET | &Method::HEAD) => timed(&runtime.clock, "login", login::start(&context)).await,
        ("initiate", &Method::GET | &Method::HEAD | &Method::POST) => initiate::start(&context, &body),
        ("callback", &Method::GET | &Method::POST) => callback::finish(&context, at, body).await,
        ("logout", &Method::GET | &Method::HEAD | &Method::POST) => logout::logout(&context).await,
        ("backchannel-logout", &Method::POST) => backchannel_logout::logout(&context, &body).await,
        ("connect", &Method::GET | &Method::HEAD | &Method::POST) => connect::start(&context).await,
        ("disconnect", &Method::GET | &Method::HEAD | &Method::POST) => disconnect::end(&context).await,
        ("granted", &Method::GET | &Method::HEAD) => connect::resumed(&context),
        ("jwks.json", &Method::GET | &Method::HEAD) => key_set::show(&context).await,
        ("frontchannel-logout", &Method::GET) if runtime.settings.frontchannel_logout => {
            frontchannel_logout::logout(&context).await
        }
        ("backchannel-logout", _) => Err(backchannel_logout::not_allowed()),
        ("login" | "connect" | "granted" | "jwks.json" | "session", _) => Err(not_allowed("GET, HEAD")),
        ("callback", _) => Err(not_allowed("GET, POST")),
        ("logout" | "disconnect" | "initiate", _) => Err(not_allowed("GET, HEAD, POST")),
        _ => Err(page::plain(StatusCode::NOT_FOUND, "Not found.")),
    };
    let mut answer = answered.unwrap_or_else(|refusal| refusal);
    if let Some(jar) = context.jar.get() {
        jar.settle(answer.headers_mut());
    }
    answer
}

fn not_allowed(allowed: &'static str) -> Response<Bytes> {
    let mut response = page::plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
