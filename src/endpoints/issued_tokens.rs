//! The tokens that came for a code are verified, and kept for the owner who was asked.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::context::EndpointContext;
use super::login_error::LoginError;
use super::pending::{Intent, KeepFor, PendingLogin};
use super::sign_in::{CompletedLogin, sign_in};
use super::{account, connect, urls, visitor};
use crate::config::connections::CheckedConnection;
use crate::config::destination::Destination;
use crate::cookie;
use crate::error::redirect;
use crate::protocol::authorization::MalformedResponse;
use crate::protocol::id_token::IdTokenUse;
use crate::protocol::token::TokenResponse;
use crate::provider::Provider;
use crate::records::grant::{Consent, LOGIN};
use crate::sessions::session::Session;
use crate::sessions::visitor_id::Visitor;
use crate::state::Runtime;
use crate::tokens::single_use::ReturnContext;

/// The tokens that came for a code, and the login or consent that they belong to.
pub(crate) struct Issued<'a> {
    pub(crate) login: &'a PendingLogin,
    pub(crate) connection: &'a CheckedConnection,
    pub(crate) scopes: Vec<String>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) tokens: &'a TokenResponse,
    pub(crate) destination: &'a Destination,
    /// The issuer that the authorization response named.
    pub(crate) iss: Option<String>,
}

/// Verifies what came, and keeps it for whom it is. Where this fails the tokens are nowhere but in the caller's hands.
pub(crate) async fn keep(
    context: &EndpointContext,
    provider: &Arc<Provider>,
    issued: Issued<'_>,
) -> Result<Response<Bytes>, LoginError> {
    let runtime = &context.runtime;
    let Issued { login, connection, scopes, session, tokens, destination, iss } = issued;
    if let Intent::Visitor { visitor, before, .. } = &login.intent {
        let asked = consent(runtime, login, scopes);
        let received = visitor::VisitorGrant { provider, connection, login, asked, tokens, destination };
        let begun = (*visitor, before.map(Visitor::new));
        return visitor::finish(context, begun, received).await;
    }
    let token_use =
        IdTokenUse::Login { nonce: &login.nonce(), max_age: login.max_age, acr_values: &login.acr_values };
    let id_token = provider.identify(tokens, token_use).await?.ok_or(LoginError::NoIdToken)?;
    // RFC 9207 section 2.4: of several tenants, the one whose person came back.
    if iss.is_some_and(|iss| iss != id_token.facts.issuer) {
        return Err(MalformedResponse("iss is another tenant's than the ID token's").into());
    }
    let verified = CompletedLogin { provider, began_at: login.started_at, id_token: &id_token, tokens };
    match (&login.intent, session) {
        (Intent::Connect { usage: KeepFor::Everyone, .. }, session) => {
            let asked = consent(runtime, login, scopes);
            account::keep(context, connection, asked, session.as_ref(), verified).await?;
            Ok(redirect(destination.as_str()))
        }
        (Intent::Connect { usage, signed_in, .. }, Some(session)) => {
            let asked = consent(runtime, login, scopes);
            let once = (*usage == KeepFor::OneRequest)
                .then_some(ReturnContext { destination, headers: &context.head.headers });
            let key = urls::proof_key(Some(&session), None).filter(|_| login.own);
            let kept = match connect::keep(context, connection, asked, session, verified, once).await {
                Err(LoginError::SessionOver) if signed_in.is_signed_out(&runtime.records).await? => {
                    return sign_in_again(context, login, connection, verified, destination).await;
                }
                kept => kept?,
            };
            Ok(cookie::with(redirect(&urls::onwards(runtime, key.as_deref(), destination)), kept))
        }
        (Intent::Connect { .. }, None) => {
            sign_in_again(context, login, connection, verified, destination).await
        }
        (Intent::Visitor { .. }, _) => Err(LoginError::SessionOver),
        (Intent::Login { replaces }, _) => sign_in(context, login, *replaces, verified, destination).await,
    }
}

/// The provider ended the session while its person was there: what they granted with the login's own connection is a login,
/// with all of its checks. Anything else is begun again with a login.
async fn sign_in_again(
    context: &EndpointContext,
    login: &PendingLogin,
    connection: &CheckedConnection,
    verified: CompletedLogin<'_>,
    destination: &Destination,
) -> Result<Response<Bytes>, LoginError> {
    let facts = &verified.id_token.facts;
    match &login.intent {
        Intent::Connect { session, usage: KeepFor::User, signed_in, .. }
            if connection.name == LOGIN && signed_in.user() == (&facts.issuer, &facts.subject) =>
        {
            sign_in(context, login, Some(*session), verified, destination).await
        }
        _ => Err(LoginError::EndedByProvider),
    }
}

fn consent(runtime: &Runtime, login: &PendingLogin, scopes: Vec<String>) -> Consent {
    let (acr_values, prompted) = (login.acr_values.clone(), login.prompted);
    Consent { at: runtime.now(), scopes, acr_values, max_age: login.max_age, prompted }
}
