//! The tokens that came for a code are verified, and kept for the owner who was asked.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::context::EndpointContext;
use super::login_error::LoginError;
use super::pending::{Intent, KeepFor};
use super::sign_in::{Issued, sign_in};
use super::{account, connect, urls, visitor};
use crate::cookie;
use crate::error::redirect;
use crate::protocol::authorization::MalformedResponse;
use crate::protocol::id_token::IdToken;
use crate::records::grant::LOGIN;
use crate::sessions::session::Session;
use crate::sessions::visitor_id::Visitor;

/// Verifies what came, and keeps it for whom it is. Where this fails the tokens are nowhere but in the caller's hands.
pub(crate) async fn keep(
    context: &EndpointContext,
    issued: &Issued<'_>,
    session: Option<Arc<Session>>,
) -> Result<Response<Bytes>, LoginError> {
    let runtime = &context.runtime;
    let Issued { login, destination, .. } = issued;
    if let Intent::Visitor { visitor, before, .. } = &login.intent {
        return visitor::finish(context, (*visitor, before.map(Visitor::new)), issued).await;
    }
    let id_token = &issued.id_token().await?;
    // RFC 9207 section 2.4: of several tenants, the one whose person came back.
    if issued.iss.as_ref().is_some_and(|iss| *iss != id_token.facts.issuer) {
        return Err(MalformedResponse("iss is another tenant's than the ID token's").into());
    }
    match (&login.intent, session) {
        (Intent::Connect { usage: KeepFor::Everyone, .. }, session) => {
            account::keep(context, issued, id_token, session.as_ref()).await?;
            Ok(redirect(destination.as_str()))
        }
        (Intent::Connect { usage, signed_in, .. }, Some(session)) => {
            let once = *usage == KeepFor::OneRequest;
            let kept = match connect::keep(context, issued, id_token, &session, once).await {
                Err(LoginError::SessionOver) if signed_in.is_signed_out(&runtime.records).await? => {
                    return sign_in_again(context, issued, id_token).await;
                }
                kept => kept?,
            };
            let key = urls::proof_key(Some(&session), None).filter(|_| login.own);
            Ok(cookie::with(redirect(&urls::onwards(runtime, key.as_deref(), destination)), kept))
        }
        (Intent::Connect { .. }, None) => sign_in_again(context, issued, id_token).await,
        (Intent::Visitor { .. }, _) => Err(LoginError::SessionOver),
        (Intent::Login { replaces }, _) => sign_in(context, issued, id_token, *replaces).await,
    }
}

/// The provider ended the session while its person was there: what they granted with the login's own connection is a login,
/// with all of its checks. Anything else is begun again with a login.
async fn sign_in_again(
    context: &EndpointContext,
    issued: &Issued<'_>,
    id_token: &IdToken,
) -> Result<Response<Bytes>, LoginError> {
    let facts = &id_token.facts;
    match &issued.login.intent {
        Intent::Connect { session, usage: KeepFor::User, signed_in, .. }
            if issued.connection.name == LOGIN && signed_in.user() == (&facts.issuer, &facts.subject) =>
        {
            sign_in(context, issued, id_token, Some(*session)).await
        }
        _ => Err(LoginError::EndedByProvider),
    }
}
