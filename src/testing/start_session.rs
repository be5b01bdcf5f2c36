//! Sessions without a login.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::SET_COOKIE;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::layer::OidcLayer;
use crate::protocol::id_token::OriginalIdToken;
use crate::records::grant::{Grant, GrantSource, LOGIN, TokenSet};
use crate::secret::Secret;
use crate::sessions::identity::SessionPayload;
use crate::sessions::session::SessionRecord;
use crate::sessions::session_id::SessionId;
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::tokens::save::keep_grant;

/// How long the access token of [`start_session_with_tokens`] is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// Starts a session as a login does, without a browser and without a provider. Returns the value of the `Cookie`
/// header that the browser would send. There is no grant, so the user has no tokens.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer, or if the session is too
/// large for cookies (stateless mode).
pub async fn start_session(
    layer: &OidcLayer,
    issuer: &str,
    subject: &str,
    claims: Map<String, Value>,
) -> Result<String, Error> {
    begin(&layer.runtime, issuer, subject, claims, None).await
}

/// Like [`start_session`], with the tokens of the login: an access token for the provider's default audience, valid
/// for an hour, and a refresh token.
///
/// # Errors
///
/// Those of [`start_session`].
pub async fn start_session_with_tokens(
    layer: &OidcLayer,
    issuer: &str,
    subject: &str,
    claims: Map<String, Value>,
    access_token: impl Into<Secret>,
    refresh_token: impl Into<Secret>,
) -> Result<String, Error> {
    let now = layer.runtime.now();
    let set = TokenSet {
        indicator: None,
        scopes: None,
        access_token: access_token.into(),
        issued_at: now,
        expires_at: Some(now.saturating_add(TOKEN_LIFE)),
        after_rejection: false,
    };
    begin(&layer.runtime, issuer, subject, claims, Some((Some(refresh_token.into()), vec![set]))).await
}

/// What a login yields: a refresh token, and access tokens.
pub(super) type Tokens = (Option<Secret>, Vec<TokenSet>);

async fn begin(
    runtime: &Arc<Runtime>,
    issuer: &str,
    subject: &str,
    claims: Map<String, Value>,
    tokens: Option<Tokens>,
) -> Result<String, Error> {
    let jar = CookieJar::of(runtime, &HeaderMap::new(), runtime.now());
    let Some(carried) = jar.contents() else {
        let id = start(runtime, issuer, subject, claims, tokens).await?;
        return Ok(format!("{}={}", runtime.settings.session_cookie, id.to_cookie()));
    };
    let (id, record) = (SessionId::new(runtime.random.bytes()), record(runtime, issuer, subject, claims));
    let grant = tokens.map(|tokens| grant(runtime, &record, tokens));
    let begun = carried.begun(id, &record, grant.as_ref(), None);
    let begun = begun
        .map_err(|too_large| Error::unavailable("it is more than cookies may hold", too_large.to_string()))?;
    carried.begin(begun);
    let mut headers = HeaderMap::new();
    jar.settle(&mut headers);
    let pairs = headers.get_all(SET_COOKIE).iter().filter_map(|set| set.to_str().ok()?.split(';').next());
    Ok(pairs.collect::<Vec<_>>().join("; "))
}

/// Starts a session that is kept in the store.
pub(super) async fn start(
    runtime: &Arc<Runtime>,
    issuer: &str,
    subject: &str,
    claims: Map<String, Value>,
    tokens: Option<Tokens>,
) -> Result<SessionId, Error> {
    let (id, record) = (SessionId::new(runtime.random.bytes()), record(runtime, issuer, subject, claims));
    if let Some(tokens) = tokens {
        let provider = runtime.providers.of_issuer(issuer);
        let login = provider.and_then(|one| runtime.settings.connections(one.relying_party.id).sign_in());
        let login = login.ok_or_else(|| Error::no_such_connection("nobody signs in there"))?;
        let rows = runtime.session_rows(id, &record);
        let place = runtime.grant_place(record.owner(), login, Some(rows)).await?;
        let grant = Grant { scopes: login.scopes.clone(), ..grant(runtime, &record, tokens) };
        keep_grant(&place, login.grant_lifetime, grant, record.ends_at).await?;
    }
    runtime.sessions.start(id, record, runtime.now()).await?;
    Ok(id)
}

fn record(runtime: &Runtime, issuer: &str, subject: &str, claims: Map<String, Value>) -> SessionRecord {
    let now = runtime.now();
    let identity = SessionPayload {
        issuer: issuer.into(),
        subject: subject.into(),
        auth_time: Some(now.as_secs()),
        issued_at: now.as_secs(),
        began_at: now,
        stored_at: now,
        logout_token: runtime.random.bytes(),
        ends_at: now.saturating_add(runtime.settings.absolute_lifetime),
        ..SessionPayload::default()
    };
    let claims = Value::Object(claims).to_string();
    SessionRecord { identity, claims, id_token: Secret::default(), sources: None }
}

fn grant(runtime: &Runtime, record: &SessionRecord, (refresh_token, token_sets): Tokens) -> Grant {
    let facts = OriginalIdToken {
        issuer: record.issuer.to_string(),
        subject: record.subject.to_string(),
        issued_at: record.issued_at,
        auth_time: record.auth_time,
        ..OriginalIdToken::default()
    };
    let provider = runtime.providers.of_issuer(&record.issuer);
    let client = provider.map(|provider| provider.relying_party.client).unwrap_or_default();
    Grant {
        refresh_token,
        original: Some(facts),
        token_sets,
        ..Grant::new(record.owner(), client, LOGIN, GrantSource::Consent)
    }
}
