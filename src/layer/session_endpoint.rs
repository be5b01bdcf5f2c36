//! The session endpoint: it tells scripts of the application's own pages which user is signed in.

use std::sync::Arc;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::json;

use crate::endpoints::context::{EndpointAnswer, EndpointContext};
use crate::endpoints::parameters::EndpointQuery;
use crate::endpoints::urls;
use crate::error::Error;
use crate::extract::current_user::CurrentUser;
use crate::html::response;
use crate::page;
use crate::protocol::{LoginOptions, Target};
use crate::state::Runtime;

/// Answers with the user, the addresses that sign in and out and then lead to `return_to`, and until when the session lasts.
pub(super) async fn show(runtime: &Arc<Runtime>, head: Parts) -> EndpointAnswer {
    let context = EndpointContext::new(runtime, head);
    context.admit(Target::Session, None, page::nothing)?;
    let (_, destination) = EndpointQuery::with_destination(&context)?;
    // Nothing is written for it, and so the session ends when it would have ended without.
    let found = context.signed_in().await.map_err(|away| Error::from(away).into_response())?;
    let session = found.filter(|session| context.jar().shows_claims(session));
    let login = urls::path(runtime, None, &destination, &LoginOptions::default());
    let key = urls::proof_key(session.as_deref(), None);
    let about = json!({
        "login_url": urls::with_proof(runtime, key.as_deref(), login),
        "logout_url": session.as_ref().map(|session| urls::logout_path(runtime, Some(session), &destination)),
        "expires_at": session.as_ref().map(|session| session.liveness.kept_until()),
        "user": session.map(|session| CurrentUser::new(session, context.jar().clone(), Arc::clone(runtime))),
    });
    Ok(response(StatusCode::OK, about.to_string(), &[(CONTENT_TYPE, "application/json")]))
}
