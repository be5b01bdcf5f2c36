//! A connection is taken back: here first, then at the provider.

use http::StatusCode;

use super::context::{EndpointAnswer, EndpointContext};
use super::login::of_visitors;
use super::parameters::EndpointQuery;
use super::{account, urls};
use crate::error::redirect;
use crate::page;
use crate::protocol::Target;
use crate::provider::ProviderId;
use crate::sessions::SessionFound;
use crate::store::StoreError;
use crate::tokens::{DisconnectOutcome, Principal, disconnect};

/// `POST /auth/disconnect?connection=…&return_to=…`, for a form on a page.
pub(crate) async fn end(context: &EndpointContext) -> EndpointAnswer {
    let runtime = &context.runtime;
    let (given, destination) = EndpointQuery::with_destination(context)?;
    let name = given.get("connection").unwrap_or_default();
    if runtime.settings.connections(ProviderId::FIRST).named(name).is_none() {
        return Err(page::bad_request("There is no connection with that name."));
    }
    let session = context.signed_in().await;
    let key = urls::proof_key(session.as_ref().ok().and_then(|session| session.as_deref()), context.visitor());
    let ask = || {
        let linked = runtime.settings.linked(&destination, false);
        let action = urls::path_for(runtime, "disconnect", name, &linked);
        let heading = format!("Do you want to end the access to “{name}”?");
        page::confirmation(&heading, &action, "Disconnect", linked.as_str())
    };
    context.admit(Target::Disconnect, key.as_deref(), ask)?;
    if let Ok(Some(session)) = &session {
        account::admit(runtime, session)?;
    }
    Ok(match disconnect_named(context, session, name).await {
        Ok(Some(DisconnectOutcome::NotRevoked)) => page::page(
            StatusCode::OK,
            "Disconnected",
            "This application has deleted its access. The service could not be notified, so the access may be \
             listed there until it expires.",
            &[(destination.as_str(), "Continue")],
        ),
        Ok(Some(_)) => redirect(destination.as_str()),
        Ok(None) => redirect(&runtime.settings.login_path(&destination)),
        Err(_) => page::try_again("This access cannot be ended at the moment.", destination.as_str()),
    })
}

/// Ends the connection of this name; `None` where nobody is there to end it.
async fn disconnect_named(
    context: &EndpointContext, session: SessionFound, name: &str,
) -> Result<Option<DisconnectOutcome>, StoreError> {
    let runtime = &context.runtime;
    runtime.records.agree_on_index().await?;
    let principal = match (session?, context.visitor()) {
        (Some(session), _) => Principal::granted_by(&session, &runtime.mode),
        (None, Some(visitor)) if of_visitors(runtime, name).is_some() => Principal::Visitor(visitor),
        (None, _) => return Ok(None),
    };
    let Some(connection) = runtime.connection_of(&principal, name) else { return Ok(None) };
    let place = runtime.place_of(&principal, connection, context.jar()).await?;
    disconnect(place).await.map(Some)
}
