//! A login's end: who may come in, and the session that begins.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

use super::context::EndpointContext;
use super::end_session::end_session;
use super::login_error::LoginError;
use super::replaced_session::Replaced;
use super::silent;
use crate::clock::Timestamp;
use crate::config::connection::GrantLifetime;
use crate::config::connections::CheckedConnection;
use crate::config::hooks::{LoginDecision, VerifiedLogin};
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::{EventCode, guarded_future};
use crate::protocol::id_token::IdToken;
use crate::protocol::token::TokenResponse;
use crate::protocol::user_info::{FetchUserInfo, about_person};
use crate::provider::Provider;
use crate::records::FOREVER;
use crate::sessions::identity::SessionPayload;
use crate::sessions::provider_logout::add_sid;
use crate::sessions::session::{MOST_CLAIMS, Session, SessionRecord};
use crate::sessions::session_id::SessionId;
use crate::state::Runtime;
use crate::tokens::save::{keep_grant, new_grant};

/// Tokens that hold, and whose they are.
#[derive(Clone, Copy)]
pub(crate) struct CompletedLogin<'a> {
    pub(crate) provider: &'a Arc<Provider>,
    /// When the login or the consent began, with its authorization request.
    pub(crate) began_at: Timestamp,
    pub(crate) id_token: &'a IdToken,
    pub(crate) tokens: &'a TokenResponse,
}

/// Begins the session, in the place of the one that the browser had.
pub(crate) async fn sign_in(
    context: &EndpointContext,
    replaces: Option<[u8; 32]>,
    verified: CompletedLogin<'_>,
    destination: &str,
) -> Result<Response<Bytes>, LoginError> {
    let (runtime, settings) = (&context.runtime, &context.runtime.settings);
    let claims = admit(runtime, &verified).await?;
    // Where the browser shows it, whether it still lasts.
    let shown = context.signed_in().await.ok().flatten();
    let replaced = context.session_id().or(replaces.map(SessionId::new));
    let (id, moved) = store(context, shown.as_ref(), replaced, &verified, &claims).await?;
    runtime.sweep_in_time();
    let facts = &verified.id_token.facts;
    runtime.events().emit(EventCode::LoginSucceeded, Some((&facts.issuer, &facts.subject)), "a new session");
    // What could not be moved wholly stays for as long as it lasts.
    let is_moved = match &moved {
        Some(moved) => moved.forget().await.is_ok(),
        None => true,
    };
    if let Some(replaced) = replaced.filter(|_| is_moved) {
        // The new session stands already: what is left of the old one expires by itself if this fails.
        let shown = shown.filter(|session| session.id == replaced);
        let _ = end_session(runtime, replaced, shown.as_ref(), context.jar()).await;
    }
    let mut answer = redirect(destination);
    // What the browser carries it is given by whoever answers.
    if context.jar().is_none() {
        let session = settings.cookies.set(
            &settings.session_cookie,
            &id.to_cookie(),
            settings.absolute_lifetime,
            SameSitePolicy::Lax,
        );
        cookie::append(answer.headers_mut(), session);
    }
    if silent::was_silent(runtime, &context.head.headers) {
        let name = settings.cookies.name("silent");
        cookie::append(answer.headers_mut(), settings.cookies.remove(&name, SameSitePolicy::Lax));
    }
    Ok(answer)
}

/// Who may come in, and what is known of them.
async fn admit(
    runtime: &Arc<Runtime>,
    verified: &CompletedLogin<'_>,
) -> Result<Map<String, Value>, LoginError> {
    let id_token = verified.id_token;
    is_of_domain(verified)?;
    let user_info = user_info(runtime, verified).await?;
    let mut claims = about_person(id_token.claims.clone(), user_info);
    let Some(hook) = &runtime.hooks.login else { return Ok(claims) };
    let login = VerifiedLogin {
        issuer: id_token.facts.issuer.clone(),
        subject: id_token.facts.subject.clone(),
        claims: claims.clone(),
    };
    let decided = guarded_future("the login hook", || hook(login)).await;
    match decided.ok_or(LoginError::Panicked)? {
        LoginDecision::Allow => Ok(claims),
        LoginDecision::AllowWith(more) => {
            claims.extend(more);
            Ok(claims)
        }
        LoginDecision::Deny(why) => Err(LoginError::Vetoed(why)),
    }
}

/// Whether the account is of the organisation that the provider is for.
pub(crate) fn is_of_domain(verified: &CompletedLogin<'_>) -> Result<(), LoginError> {
    match &verified.provider.relying_party.hosted_domain {
        Some(domain) if verified.id_token.claims.get("hd").and_then(Value::as_str) != Some(domain) => {
            Err(LoginError::HostedDomain)
        }
        _ => Ok(()),
    }
}

async fn user_info(
    runtime: &Arc<Runtime>,
    verified: &CompletedLogin<'_>,
) -> Result<Option<Map<String, Value>>, LoginError> {
    let provider = verified.provider;
    let metadata = provider.metadata().await?;
    let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
    let scopes = &sign_in_at(runtime, provider)?.scopes;
    let lacks = |scope: &str, claim: &str| {
        scopes.iter().any(|asked| asked == scope) && !verified.id_token.claims.contains_key(claim)
    };
    let asked = match provider.relying_party.fetch_user_info {
        FetchUserInfo::Never => false,
        FetchUserInfo::WhenNeeded => lacks("email", "email") || lacks("profile", "name"),
        FetchUserInfo::Always => true,
    };
    if !asked {
        return Ok(None);
    }
    let subject = &verified.id_token.facts.subject;
    Ok(Some(provider.user_info(endpoint, &verified.tokens.access_token, subject).await?))
}

/// The session that begins, with the provider's sessions that the one in whose place it comes was known by.
async fn session_record(
    context: &EndpointContext,
    replaced: Option<SessionId>,
    verified: &CompletedLogin<'_>,
    claims: &Map<String, Value>,
    now: Timestamp,
) -> Result<SessionRecord, LoginError> {
    let (runtime, id_token) = (&context.runtime, verified.id_token);
    let facts = &id_token.facts;
    let mut sids = match replaced {
        Some(replaced) => context.sids(replaced, (&facts.issuer, &facts.subject)).await?,
        None => Vec::new(),
    };
    id_token.sid.iter().for_each(|sid| add_sid(&mut sids, sid));
    let identity = SessionPayload {
        issuer: facts.issuer.as_str().into(),
        subject: facts.subject.as_str().into(),
        sids,
        auth_time: facts.auth_time,
        issued_at: facts.issued_at,
        began_at: verified.began_at,
        stored_at: now,
        algorithms: vec![id_token.algorithm.clone()],
        acr: id_token.acr.as_deref().map(Into::into),
        logout_token: runtime.random.bytes(),
        ends_at: now.saturating_add(runtime.settings.absolute_lifetime),
    };
    let claims = Value::Object(claims.clone()).to_string();
    if claims.len() > MOST_CLAIMS {
        return Err(LoginError::TooLarge);
    }
    let room = MOST_CLAIMS - claims.len();
    let hint = verified.tokens.id_token.clone().filter(|hint| hint.expose_secret().len() <= room);
    let id_token = hint.filter(|_| verified.provider.takes_logout_hint()).unwrap_or_default();
    Ok(SessionRecord { identity, claims, id_token })
}

/// Grant first, session last: a session that exists is complete.
async fn store(
    context: &EndpointContext,
    shown: Option<&Arc<Session>>,
    replaced: Option<SessionId>,
    verified: &CompletedLogin<'_>,
    claims: &Map<String, Value>,
) -> Result<(SessionId, Option<Replaced>), LoginError> {
    let runtime = &context.runtime;
    let now = runtime.now();
    let id = SessionId::new(runtime.random.bytes());
    let (id_token, tokens) = (verified.id_token, verified.tokens);
    let mut record = session_record(context, replaced, verified, claims, now).await?;
    let mut moved = None;
    // Elsewhere nobody uses them. They are not revoked: some providers would take the account's along, where the person
    // is the one who granted it.
    if runtime.mode.keeps_logins() {
        let login = sign_in_at(runtime, verified.provider)?;
        let place = runtime.grant_place(record.owner(), login, Some(runtime.session_row(id))).await?;
        let mut grant = new_grant(&place, login, &login.scopes, tokens, Some(id_token.facts.clone()), now);
        if let (Some(replaced), GrantLifetime::Session, None) =
            (replaced, login.grant_lifetime, &grant.refresh_token)
        {
            moved = Replaced::lease(context, &place.owner, login, replaced, shown, record.ends_at).await?;
        }
        if let Some(moved) = &moved {
            grant = grant.consented_again(&moved.grant);
            grant.lease = None;
        }
        if let Some(jar) = context.jar() {
            // Nobody can have anything of this session yet: the answer is the only place that it is in.
            record.identity.stored_at = record.identity.after_notes(&runtime.records).await?;
            let begun = jar.begin(id.bytes(), &record, Some(&grant), replaced.map(SessionId::bytes).as_ref());
            begun.map_err(LoginError::TooLargeToCarry)?;
            return Ok((id, moved));
        }
        keep_grant(&place, login.grant_lifetime, grant, record.ends_at).await?;
    }
    // Whatever is noted by then came before.
    let begun = SessionPayload { stored_at: FOREVER, ..record.identity.clone() };
    runtime.sessions.start(id, record, now).await?;
    // Only now: whoever signs them out from here on finds the session.
    if begun.is_signed_out(&runtime.records).await? {
        end_session(runtime, id, None, None).await?;
        return Err(LoginError::SignedOut);
    }
    Ok((id, moved))
}

/// What the login at a provider asks for.
fn sign_in_at<'a>(runtime: &'a Runtime, provider: &Provider) -> Result<&'a CheckedConnection, LoginError> {
    runtime.settings.connections(provider.relying_party.id).sign_in().ok_or(LoginError::NotPending)
}
