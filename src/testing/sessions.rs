//! Sessions without a login.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::layer::OidcLayer;
use crate::runtime::Runtime;
use crate::secret::Secret;
use crate::session::SessionRecord;
use crate::session_id::SessionId;
use crate::store::StoreError;

/// Starts a session as a finished login does, without a browser and without a provider, and returns what the browser
/// would send: the value of a `Cookie` header. No grant comes with it, so the person has no tokens.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer.
pub async fn start_session(
    layer: &OidcLayer,
    issuer: &str,
    subject: &str,
    claims: Map<String, Value>,
) -> Result<String, Error> {
    let runtime = &layer.runtime;
    let id = start(runtime, issuer, subject, claims).await?;
    Ok(format!("{}={}", runtime.settings.session_cookie, id.to_cookie()))
}

pub(super) async fn start(
    runtime: &Runtime,
    issuer: &str,
    subject: &str,
    claims: Map<String, Value>,
) -> Result<SessionId, StoreError> {
    let now = runtime.now();
    let id = SessionId::new(runtime.random.bytes());
    let record = SessionRecord {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        sid: None,
        auth_time: Some(now.as_secs()),
        issued_at: now.as_secs(),
        acr: None,
        claims: Value::Object(claims).to_string(),
        id_token: Secret::default(),
        logout_token: runtime.random.bytes(),
        started_at: now,
        ends_at: now.plus(runtime.settings.absolute_lifetime),
    };
    runtime.sessions.start(id, record, &runtime.records, now).await?;
    Ok(id)
}
