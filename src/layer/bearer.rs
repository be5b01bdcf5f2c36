//! Requests with an access token (RFC 6750): a client calls this application as an API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::config::{Api, CheckedApi, LOOK_AGAIN, LoginDecision, VerifiedLogin};
use crate::error::{Error, ErrorKind};
use crate::events::{EventCode, guarded_future};
use crate::html::response;
use crate::protocol::{BearerToken, Claims, RolesByRule, jws, user_info};
use crate::provider::{Provider, ProviderError};
use crate::secret::Secret;
use crate::sessions::Session;
use crate::state::Runtime;
use crate::state::memory::BearerRefusal;

/// The longest time that a token waits for its turn at introspection.
const TURN: Duration = Duration::from_secs(2);

/// A request to this application as an API.
pub(super) enum BearerRequest {
    /// It is answered without the application.
    Answer(Response<Bytes>),
    /// It has a token that is remembered.
    Known(Arc<Session>),
    Unknown(Secret),
}

/// Reads the access token of a request, or answers a request for the metadata; `None` where there is no token.
pub(super) fn read<B>(runtime: &Runtime, api: &CheckedApi, request: &Request<B>) -> Option<BearerRequest> {
    let (uri, is_read) = (request.uri(), matches!(*request.method(), Method::GET | Method::HEAD));
    if is_read && api.is_metadata(uri.path()) {
        let headers = [(CONTENT_TYPE, "application/json"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
        return Some(BearerRequest::Answer(response(StatusCode::OK, api.metadata.clone(), &headers)));
    }
    let values = request.headers().get_all(AUTHORIZATION);
    let token = values.iter().find_map(|value| bearer(value.as_bytes()))?;
    // RFC 6750 section 2: one way in each request. Another reader of it may choose the other token.
    // RFC 6750 section 2.3: a query may have one, too.
    let names_token = |query: &str| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token");
    let is_single = values.iter().nth(1).is_none() && !uri.query().is_some_and(names_token);
    // A token that is known was looked at.
    if is_single && let Some(session) = runtime.bearer_tokens.get(token, runtime.clock.reading()) {
        return Some(BearerRequest::Known(session));
    }
    let text = std::str::from_utf8(token).ok().filter(|token| is_single && is_token(token));
    Some(match text {
        Some(text) => BearerRequest::Unknown(text.into()),
        None => {
            let why = "expected one access token, in one Authorization header";
            BearerRequest::Answer(refused(api, ErrorKind::InvalidRequest, why).into_response())
        }
    })
}

/// The credentials behind the scheme `Bearer`, whose name has no case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && matches!(rest.first(), None | Some(b' '));
    is_bearer.then(|| rest.trim_ascii())
}

/// RFC 6750 section 2.1, `b64token`.
fn is_token(token: &str) -> bool {
    let end = token.trim_end_matches('=');
    !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// Verifies a token that is not remembered, and remembers what came of it.
pub(super) async fn accept(runtime: &Arc<Runtime>, token: &Secret) -> Result<Arc<Session>, Error> {
    let Some(api) = &runtime.settings.api else { return Err(Error::layer_missing()) };
    let (tokens, bytes) = (&runtime.bearer_tokens, token.expose_secret().as_bytes());
    let now = runtime.clock.reading();
    let (kind, why) = match tokens.refusal(bytes, now) {
        Some(refusal) => refusal,
        None => {
            // Pseudonyms are made with it.
            runtime.records.index().await?;
            match check(runtime, api, token).await? {
                Ok((session, lasts)) => {
                    let session = Arc::new(session);
                    tokens.put(bytes, Arc::clone(&session), now, lasts);
                    return Ok(session);
                }
                Err(refusal) => {
                    tokens.refuse(bytes, refusal.clone(), now);
                    refusal
                }
            }
        }
    };
    runtime.events().emit(EventCode::BearerRefused, None, &why);
    Err(refused(api, kind, &why))
}

fn away(error: impl Into<tower::BoxError>) -> Error {
    Error::unavailable("the access token cannot be verified now", error)
}

/// A refusal with its challenge (RFC 6750 section 3), unless it is the user who is refused.
fn refused(api: &CheckedApi, kind: ErrorKind, why: &str) -> Error {
    let error = Error::new(kind, why.to_owned());
    if kind == ErrorKind::Forbidden {
        return error;
    }
    // RFC 6750 section 3: neither quotation marks nor backslashes.
    let plain = |character: char| if character.is_ascii_graphic() && character != '\\' { character } else { ' ' };
    let description: String = why.replace('"', "'").chars().map(plain).collect();
    error.with_challenge(api.challenge(&format!("error=\"{}\", error_description=\"{description}\"", kind.code())))
}

/// Verifies a token, and asks the application. The outer error is one that passes.
async fn check(
    runtime: &Arc<Runtime>, api: &CheckedApi, token: &Secret,
) -> Result<Result<(Session, Duration), BearerRefusal>, Error> {
    let invalid = |why: &str| Ok(Err((ErrorKind::InvalidToken, why.into())));
    let Api { audience, introspect_at, introspection_age, .. } = &api.api;
    let issuer = jws::claimed_issuer(token.expose_secret());
    let issuer = issuer.and_then(|issuer| runtime.providers.of_issuer(&issuer));
    let issuer = issuer.filter(|provider| provider.relying_party.issuer.issues_id_tokens());
    let asked = introspect_at.as_ref().and_then(|name| runtime.providers.login_named(name));
    let (provider, verified, longest) = match (issuer, asked) {
        (Some(provider), _) => {
            let verified = provider.verify_access_token(token.expose_secret(), audience).await;
            (provider, verified, LOOK_AGAIN)
        }
        (None, Some(provider)) => {
            let turn = timeout(TURN, runtime.bearer_tokens.turns.acquire()).await;
            let _turn = turn.map_err(|_| away("too many unknown access tokens are asked about"))?;
            (provider, provider.introspect(token, audience).await, *introspection_age)
        }
        (None, None) => return invalid("it is no JWT of a provider for logins"),
    };
    let verified = match verified {
        Ok(verified) => verified,
        Err(error @ ProviderError::Statement(..)) => return invalid(&error.to_string()),
        Err(error) => {
            provider.tell(&error);
            return Err(away(error));
        }
    };
    let lasts = verified.expires_at.duration_since(runtime.now()).min(longest);
    Ok(match (&verified.subject, api.api.allow_clients) {
        (Some(_), _) => admit(runtime, provider, &verified).await.map(|session| (session, lasts)),
        (None, true) => Ok((Session::of_token(&verified, &verified.claims, RolesByRule::default()), lasts)),
        (None, false) => return invalid("it is a client's own, expected one with a user (sub)"),
    })
}

/// Decides whether the user of a token may come in, by the rules of a login.
async fn admit(runtime: &Runtime, provider: &Provider, token: &BearerToken) -> Result<Session, BearerRefusal> {
    let denied = |why: &str| Err((ErrorKind::Forbidden, why.into()));
    let domain = provider.relying_party.hosted_domain.as_deref();
    if domain.is_some() && token.claims.get("hd").and_then(Value::as_str) != domain {
        return denied("the access token's hd is not the configured hosted_domain");
    }
    let claims = user_info::about_person(token.claims.clone(), None);
    let session = |more| {
        let roles = provider.roles([None, None, Some(&token.claims), Some(&more)], &RolesByRule::default());
        Ok(Session::of_token(token, &user_info::replace(claims.clone(), more), roles))
    };
    let Some(hook) = &runtime.hooks.bearer else { return session(Claims::new()) };
    let user = (token.issuer.as_str(), token.subject.as_deref().unwrap_or_default());
    let acr = token.claims.get("acr").and_then(Value::as_str);
    let login = VerifiedLogin::new(&provider.relying_party.name, user, (acr, &token.scopes), &claims);
    match guarded_future("the hook for access tokens", || hook(login)).await.map(LoginDecision::granted) {
        Some(Ok((more, _))) => session(more),
        Some(Err(why)) => denied(&why),
        None => denied("the hook for access tokens panicked"),
    }
}
