//! A login ends: state before exchange, exchange before use, verify before store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::login::{self, registration, unavailable};
use super::page;
use super::pending::{self, Pending, PendingLogin};
use crate::ambient::Timestamp;
use crate::config::{Retention, UserInfo};
use crate::cookie::{self, CrossSite};
use crate::destination::Destination;
use crate::error::redirect;
use crate::events::EventCode;
use crate::grant::{Grant, LOGIN, Owner, Standing, TokenSet};
use crate::hooks::{NewLogin, Verdict};
use crate::protocol::authorization::{AuthorizationResponse, MalformedResponse, Outcome, ResponseMode};
use crate::protocol::id_token::{IdToken, Occasion};
use crate::protocol::token::TokenResponse;
use crate::protocol::user_info::about_person;
use crate::provider::{ProviderError, cause};
use crate::records::{FOREVER, Row};
use crate::runtime::Runtime;
use crate::seal::Purpose;
use crate::session::{SessionId, SessionRecord};
use crate::store::{Key, StoreError};

/// The longest that a callback may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The most that a person's claims and ID token may have together, in bytes: a record holds 64 KiB.
const MOST_CLAIMS: usize = 48 * 1024;

/// Why a login ended without a session.
#[derive(Debug, thiserror::Error)]
enum LoginFailure {
    #[error(transparent)]
    Malformed(#[from] MalformedResponse),
    #[error("this browser has not started this login, or finished it")]
    NotPending,
    #[error("the login took too long")]
    Expired,
    #[error("the provider says {0}")]
    Denied(String),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the callback took too long")]
    Deadline,
    #[error("the token response has no ID token")]
    NoIdToken,
    #[error("the person is not of the hosted domain")]
    HostedDomain,
    #[error("the application refuses: {0}")]
    Vetoed(String),
    #[error("the claims are too large: ask for fewer scopes, or have the provider send less")]
    TooLarge,
    #[error("the login hook panicked")]
    Panicked,
}

/// Where the login came from, as far as is known when something goes wrong.
struct Refused {
    failure: LoginFailure,
    return_to: Option<Destination>,
}

pub(crate) async fn finish(runtime: &Arc<Runtime>, parts: Parts, body: Bytes) -> Response<Bytes> {
    // In a task of its own: a browser that goes away must not lose what the provider has issued.
    let work = {
        let runtime = Arc::clone(runtime);
        async move {
            let finished = callback(&runtime, &parts, &body).await;
            finished.unwrap_or_else(|refused| answer(&runtime, &refused))
        }
    };
    match runtime.tasks.spawn(work).await {
        Ok(response) => response,
        Err(_) => answer(runtime, &Refused { failure: LoginFailure::Panicked, return_to: None }),
    }
}

async fn callback(runtime: &Arc<Runtime>, parts: &Parts, body: &[u8]) -> Result<Response<Bytes>, Refused> {
    let unknown = |failure: LoginFailure| Refused { failure, return_to: None };
    let response = read(runtime, parts, body).map_err(|malformed| unknown(malformed.into()))?;
    let login = match pending::LOGIN.find::<PendingLogin>(runtime, &parts.headers, &response.state) {
        Pending::Valid(login) if is_of(&login, &response, runtime) => login,
        Pending::Expired(login) if is_of(&login, &response, runtime) => {
            let return_to = runtime.settings.destination(&login.return_to).ok();
            // Whoever is signed in by now only wants to go on.
            if let (Some(destination), true) = (&return_to, is_signed_in(runtime, &parts.headers).await) {
                return Ok(redirect(destination.as_str()));
            }
            return Err(Refused { failure: LoginFailure::Expired, return_to });
        }
        _ => return Err(unknown(LoginFailure::NotPending)),
    };
    let return_to = runtime.settings.destination(&login.return_to).ok();
    let destination = return_to.as_ref().map_or("/", Destination::as_str).to_owned();
    let signing_in = sign_in(runtime, &parts.headers, &login, response, &destination);
    let signed_in = tokio::time::timeout(DEADLINE, signing_in).await;
    signed_in.unwrap_or(Err(LoginFailure::Deadline)).map_err(|failure| Refused { failure, return_to })
}

/// The response, from where the response mode puts it and from nowhere else.
fn read(runtime: &Runtime, parts: &Parts, body: &[u8]) -> Result<AuthorizationResponse, MalformedResponse> {
    let form = b"application/x-www-form-urlencoded";
    let is_form = || {
        let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        kind.get(..form.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(form))
    };
    match (runtime.settings.relying_party.response_mode, &parts.method) {
        (ResponseMode::Query, &Method::GET) => {
            AuthorizationResponse::parse(parts.uri.query().unwrap_or_default().as_bytes())
        }
        (ResponseMode::FormPost, &Method::POST) if is_form() => AuthorizationResponse::parse(body),
        _ => Err(MalformedResponse("another response mode than was asked for")),
    }
}

fn is_of(login: &PendingLogin, response: &AuthorizationResponse, runtime: &Runtime) -> bool {
    let state = bool::from(login.state.as_bytes().ct_eq(response.state.as_bytes()));
    state && login.registration == registration(&runtime.settings.relying_party)
}

async fn is_signed_in(runtime: &Runtime, headers: &HeaderMap) -> bool {
    match cookie::find(headers, &runtime.settings.session_cookie).and_then(SessionId::from_cookie) {
        Some(id) => matches!(runtime.sessions.find(id, &runtime.records, runtime.now()).await, Ok(Some(_))),
        None => false,
    }
}

async fn sign_in(
    runtime: &Arc<Runtime>,
    headers: &HeaderMap,
    login: &PendingLogin,
    response: AuthorizationResponse,
    destination: &str,
) -> Result<Response<Bytes>, LoginFailure> {
    let provider = &runtime.provider;
    // RFC 9207, before anything is sent anywhere.
    let metadata = provider.metadata().await?;
    response.check_issuer(&metadata.issuer, metadata.sends_iss)?;
    let code = match response.outcome {
        Outcome::Code(code) => code,
        Outcome::Error { code, .. } if login.silent && needs_a_person(&code) => {
            let mut answer = redirect(destination);
            cookie::append(answer.headers_mut(), login::silence(runtime));
            forget(runtime, login, &mut answer);
            return Ok(answer);
        }
        Outcome::Error { code, .. } => {
            return Err(LoginFailure::Denied(code.chars().filter(char::is_ascii_graphic).take(64).collect()));
        }
    };
    if !spend(runtime, login).await? {
        // The same callback again: what it was good for has happened, or failed and was answered.
        return Ok(redirect(destination));
    }
    let redirect_uri = &runtime.settings.relying_party.redirect_uri;
    let tokens = provider.exchange(&code, &login.code_verifier, redirect_uri).await?;
    let id_token = tokens.id_token.as_ref().ok_or(LoginFailure::NoIdToken)?;
    let occasion =
        Occasion::Login { nonce: &login.nonce, max_age: login.max_age, acr_values: &login.acr_values };
    let verified = provider.verify(id_token, &tokens.access_token, occasion).await?;
    let claims = match admit(runtime, &verified, &tokens).await {
        Ok(claims) => claims,
        Err(failure) => {
            // Nobody will use them, and nobody shall.
            let _ = provider
                .revoke(tokens.refresh_token.as_ref().unwrap_or(&tokens.access_token), hint(&tokens))
                .await;
            return Err(failure);
        }
    };
    let replaced = replaced(headers, login, runtime);
    let id = store(runtime, &verified, &claims, &tokens).await?;
    runtime.events().emit(
        EventCode::LoginSucceeded,
        Some((&verified.facts.issuer, &verified.facts.subject)),
        "a new session",
    );
    if let Some(replaced) = replaced {
        // The new session stands already: what is left of the old one expires by itself if this fails.
        let _ = super::logout::end_session(runtime, replaced).await;
    }
    let mut answer = redirect(destination);
    let settings = &runtime.settings;
    let session = settings.cookies.set(
        &settings.session_cookie,
        &id.to_cookie(),
        settings.absolute_lifetime,
        CrossSite::Lax,
    );
    cookie::append(answer.headers_mut(), session);
    if login::was_silent(runtime, headers) {
        let name = settings.cookies.name("silent");
        cookie::append(answer.headers_mut(), settings.cookies.remove(&name, CrossSite::Lax));
    }
    forget(runtime, login, &mut answer);
    Ok(answer)
}

/// OpenID Connect Core 1.0 section 3.1.2.6: a login without a person needs one.
fn needs_a_person(code: &str) -> bool {
    matches!(
        code,
        "login_required" | "interaction_required" | "consent_required" | "account_selection_required"
    )
}

fn forget(runtime: &Runtime, login: &PendingLogin, answer: &mut Response<Bytes>) {
    if let Some(removal) = pending::LOGIN.remove(runtime, &login.state) {
        cookie::append(answer.headers_mut(), removal);
    }
}

/// True once for each login, in all processes that share the store.
async fn spend(runtime: &Runtime, login: &PendingLogin) -> Result<bool, StoreError> {
    let index = runtime.records.index().await?;
    let key = Key(index.hash(&[b"spent login", login.state.as_bytes()]));
    let row = Row { purpose: Purpose::PendingLogin, key, owner: Vec::new() };
    let expires_at = runtime.now().plus(runtime.settings.login_lifetime.saturating_mul(2));
    Ok(runtime.records.swap(&row, None, &(), expires_at, Vec::new()).await?.is_some())
}

/// Who may come in, and what is known of them.
async fn admit(
    runtime: &Arc<Runtime>,
    verified: &IdToken,
    tokens: &TokenResponse,
) -> Result<Map<String, Value>, LoginFailure> {
    let relying_party = &runtime.settings.relying_party;
    if let Some(domain) = &relying_party.hosted_domain
        && verified.claims.get("hd").and_then(Value::as_str) != Some(domain)
    {
        return Err(LoginFailure::HostedDomain);
    }
    let user_info = user_info(runtime, verified, tokens).await?;
    let mut claims = about_person(verified.claims.clone(), user_info);
    let Some(hook) = &runtime.hooks.login else { return Ok(claims) };
    let login = NewLogin {
        issuer: verified.facts.issuer.clone(),
        subject: verified.facts.subject.clone(),
        claims: claims.clone(),
    };
    match hook(login).await {
        Verdict::Accept => Ok(claims),
        Verdict::Enrich(more) => {
            claims.extend(more);
            Ok(claims)
        }
        Verdict::Refuse(why) => Err(LoginFailure::Vetoed(why)),
    }
}

async fn user_info(
    runtime: &Arc<Runtime>,
    verified: &IdToken,
    tokens: &TokenResponse,
) -> Result<Option<Map<String, Value>>, LoginFailure> {
    let relying_party = &runtime.settings.relying_party;
    let metadata = runtime.provider.metadata().await?;
    let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
    let lacks = |scope: &str, claim: &str| {
        relying_party.scopes.iter().any(|asked| asked == scope) && !verified.claims.contains_key(claim)
    };
    let asked = match relying_party.user_info {
        UserInfo::Never => false,
        UserInfo::WhereNeeded => lacks("email", "email") || lacks("profile", "name"),
        UserInfo::Always => true,
    };
    if !asked {
        return Ok(None);
    }
    let subject = &verified.facts.subject;
    Ok(Some(runtime.provider.user_info(endpoint, &tokens.access_token, subject).await?))
}

/// The session of this browser that the new one takes the place of.
fn replaced(headers: &HeaderMap, login: &PendingLogin, runtime: &Runtime) -> Option<SessionId> {
    let cookie = cookie::find(headers, &runtime.settings.session_cookie).and_then(SessionId::from_cookie);
    cookie.or(login.replaces.map(SessionId::new))
}

/// Grant first, session last: a session that exists is complete.
async fn store(
    runtime: &Arc<Runtime>,
    verified: &IdToken,
    claims: &Map<String, Value>,
    tokens: &TokenResponse,
) -> Result<SessionId, LoginFailure> {
    let now = runtime.now();
    let id = SessionId::new(runtime.random.bytes());
    let ends_at = now.plus(runtime.settings.absolute_lifetime);
    let record = SessionRecord {
        issuer: verified.facts.issuer.clone(),
        subject: verified.facts.subject.clone(),
        sid: verified.sid.clone(),
        auth_time: verified.facts.auth_time,
        acr: verified.acr.clone(),
        claims: Value::Object(claims.clone()).to_string(),
        id_token: tokens.id_token.clone().unwrap_or_default(),
        logout_token: runtime.random.bytes(),
        started_at: now,
        ends_at,
    };
    if record.claims.len() + record.id_token.expose_secret().len() > MOST_CLAIMS {
        return Err(LoginFailure::TooLarge);
    }
    let owner = Owner::User { issuer: record.issuer.clone(), subject: record.subject.clone() };
    let row = runtime.login_grant(&owner, id.row().key).await?;
    keep_grant(runtime, &row, new_grant(runtime, owner, verified, tokens, now), ends_at).await?;
    runtime.sessions.start(id, record, &runtime.records, now).await?;
    Ok(id)
}

fn new_grant(
    runtime: &Runtime,
    owner: Owner,
    verified: &IdToken,
    tokens: &TokenResponse,
    now: Timestamp,
) -> Grant {
    let relying_party = &runtime.settings.relying_party;
    let indicator = match relying_party.indicators.as_slice() {
        [indicator] => Some(indicator.clone()),
        _ => None,
    };
    Grant {
        owner,
        connection: LOGIN.to_owned(),
        generation: 1,
        refresh_token: tokens.refresh_token.clone(),
        facts: verified.facts.clone(),
        // RFC 6749 section 5.1: a response that names no scopes grants those that were asked for.
        scopes: tokens.scopes.clone().unwrap_or_else(|| relying_party.scopes.clone()),
        token_sets: vec![TokenSet::new(indicator, tokens, now)],
        lease: None,
        standing: Standing::Good,
    }
}

/// The newest consent wins over whatever lies there.
async fn keep_grant(
    runtime: &Runtime,
    row: &Row,
    mut grant: Grant,
    session_ends_at: Timestamp,
) -> Result<(), StoreError> {
    use crate::records::Loaded;
    let expires_at = match runtime.settings.login_retention {
        Retention::Session => session_ends_at,
        Retention::User => FOREVER,
    };
    loop {
        let version = match runtime.records.load::<Grant>(row).await? {
            Loaded::Found(found) => {
                // A refresh that is under way for the old grant finds a newer generation, and adopts it.
                grant.generation = found.value.generation + 1;
                Some(found.version)
            }
            Loaded::Absent(version) => version,
            Loaded::Unreadable => {
                return Err(StoreError::refused("a grant is sealed with a secret that is not configured"));
            }
        };
        if runtime.records.swap(row, version, &grant, expires_at, Vec::new()).await?.is_some() {
            return Ok(());
        }
    }
}

fn hint(tokens: &TokenResponse) -> &'static str {
    if tokens.refresh_token.is_some() { "refresh_token" } else { "access_token" }
}

/// The page for a login that ended without a session.
fn answer(runtime: &Runtime, refused: &Refused) -> Response<Bytes> {
    runtime.events().emit(EventCode::LoginRefused, None, cause(&refused.failure));
    let home = || runtime.settings.destination("").ok();
    let destination = refused.return_to.clone().or_else(home);
    let again = destination.map(|d| runtime.settings.login_path(&d)).unwrap_or_default();
    let links = [(again.as_str(), "Sign in again")];
    let page = |status, text: &str| page::page(status, "You are not signed in", text, &links);
    match &refused.failure {
        LoginFailure::Provider(error) if error.passes() => unavailable(&again),
        LoginFailure::Deadline => unavailable(&again),
        LoginFailure::Store(_) => page::try_again("Nobody can be signed in at the moment.", &again),
        // RFC 6749 section 5.2: a code that is over is the browser's; everything else is about this application.
        LoginFailure::Provider(ProviderError::Refused(code)) if code != "invalid_grant" => {
            page(StatusCode::BAD_GATEWAY, "The sign-in service refused this application.")
        }
        LoginFailure::Provider(ProviderError::Malformed(_)) => {
            page(StatusCode::BAD_GATEWAY, "The sign-in service gave an answer that cannot be understood.")
        }
        LoginFailure::Provider(_) | LoginFailure::NoIdToken => {
            page(StatusCode::BAD_REQUEST, "What the sign-in service says about you cannot be trusted.")
        }
        LoginFailure::Malformed(_) | LoginFailure::NotPending => page(
            StatusCode::BAD_REQUEST,
            "This sign-in was not started in this browser, or is finished already.",
        ),
        LoginFailure::Expired => page(StatusCode::BAD_REQUEST, "This sign-in took too long."),
        LoginFailure::Denied(code) => match code.as_str() {
            "access_denied" => {
                page(StatusCode::FORBIDDEN, "You, or the sign-in service, said no (access_denied).")
            }
            "temporarily_unavailable" | "server_error" => unavailable(&again),
            code => page(StatusCode::BAD_REQUEST, &format!("The sign-in service says: {code}.")),
        },
        LoginFailure::HostedDomain => {
            page(StatusCode::FORBIDDEN, "Your account is not of the right organisation.")
        }
        LoginFailure::Vetoed(why) => page(StatusCode::FORBIDDEN, why),
        LoginFailure::TooLarge => {
            page(StatusCode::BAD_GATEWAY, "The sign-in service says more about you than can be kept.")
        }
        LoginFailure::Panicked => page(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here."),
    }
}
