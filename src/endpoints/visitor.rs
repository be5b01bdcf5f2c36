//! Visitors: somebody grants access to their own data without signing in, and the browser owns what they granted.
//!
//! 1. The browser gets a random name of 256 bits with its first grant. What is kept is kept for that name's hash. First
//!    grants under way in several tabs come to one name. (But for tabs that begin at the same moment and finish one after
//!    the other with `form_post`, which brings no name along: the last one's counts.)
//! 2. A visitor's grant never answers for a person, nor a person's for a visitor; signing in hands nothing over.
//! 3. Nobody is known by it. An ID token counts where `openid` was asked for, and then it must hold.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::context::EndpointContext;
use super::login::{self, AuthorizationAttempt, begin};
use super::login_error::LoginError;
use super::pending::{self, Intent, PendingLogin};
use super::sign_in::{CompletedLogin, is_of_domain};
use crate::config::connection::GrantLifetime;
use crate::config::connections::CheckedConnection;
use crate::config::destination::Destination;
use crate::config::resource::push_new;
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::EventCode;
use crate::protocol::id_token::IdTokenUse;
use crate::protocol::token::TokenResponse;
use crate::provider::Provider;
use crate::provider::relying_party::ProviderId;
use crate::records::grant::Consent;
use crate::sessions::visitor_id::{COOKIE, Visitor};
use crate::state::Runtime;
use crate::store::StoreError;
use crate::tokens::principal::Principal;
use crate::tokens::save::{keep_grant, new_grant};

/// What came for a code, and what had been asked for.
pub(crate) struct VisitorGrant<'a> {
    pub(crate) provider: &'a Arc<Provider>,
    pub(crate) connection: &'a CheckedConnection,
    pub(crate) login: &'a PendingLogin,
    pub(crate) asked: Consent,
    pub(crate) tokens: &'a TokenResponse,
    pub(crate) destination: &'a Destination,
}

/// The visitor that this browser is about to be, where first grants are under way in it. Their cookies are sealed, and no
/// other browser has them. The smallest: whoever sees several that began at the same moment chooses the same.
fn becoming(context: &EndpointContext) -> Option<Visitor> {
    let under_way = pending::LOGIN.under_way::<PendingLogin>(&context.runtime, &context.head.headers);
    let names = under_way.filter_map(|login| match login.intent {
        Intent::Visitor { visitor, is_new: true, .. } => Some(visitor),
        _ => None,
    });
    names.min().map(Visitor::new)
}

/// Whose grant it is that was begun in this browser as `begun`; `None` where the browser is another visitor by now.
fn grantee(context: &EndpointContext, begun: Visitor, is_new: bool) -> Option<Visitor> {
    match context.visitor() {
        // A name that was made up for it was nobody's, and another tab was granted something first.
        Some(present) => (is_new || present == begun).then_some(present),
        None if is_new => becoming(context).or(Some(begun)),
        // A cross-site POST comes without the cookie.
        None => Some(begun),
    }
}

/// The connection of this name, if visitors may grant it.
pub(crate) fn connection<'a>(runtime: &'a Runtime, name: &str) -> Option<&'a CheckedConnection> {
    let connections = runtime.settings.connections(ProviderId::FIRST);
    connections.named(name).filter(|connection| connection.visitors)
}

/// Sends a visitor to the provider, `asked` for more scopes than always.
pub(crate) async fn start(
    context: &EndpointContext,
    connection: &CheckedConnection,
    mut ask: AuthorizationAttempt,
    more: &[String],
    here: &str,
) -> Result<Response<Bytes>, StoreError> {
    let (runtime, present) = (&context.runtime, context.visitor());
    let visitor = present.or_else(|| becoming(context));
    let visitor = visitor.unwrap_or_else(|| Visitor::new(runtime.random.bytes()));
    let granted = context.granted(&Principal::Visitor(visitor), connection).await?;
    // The union: what is asked for now must not take away what was granted before.
    let (always, mut more_scopes) = (connection.visitor_scopes(), Vec::new());
    let known = granted.iter().flat_map(|grant| grant.all_scopes()).filter(|scope| connection.knows(scope));
    for scope in known.chain(more).filter(|scope| !always.contains(scope)) {
        push_new(&mut more_scopes, scope);
    }
    login::prompt_where_it_lapsed(runtime, granted.as_deref(), &always, &more_scopes, &mut ask.options);
    let (is_new, connection) = (present.is_none(), connection.name.clone());
    ask.intent = Intent::Visitor { visitor: visitor.bytes(), is_new, connection, more_scopes };
    Ok(begin(context, &ask, here).await)
}

/// Keeps what a visitor granted, for the browser in which they began, and had no name yet where it is new.
pub(crate) async fn finish(
    context: &EndpointContext,
    (begun, is_new): (Visitor, bool),
    received: VisitorGrant<'_>,
) -> Result<Response<Bytes>, LoginError> {
    let VisitorGrant { provider, connection, login, asked, tokens, destination } = received;
    let runtime = &context.runtime;
    let visitor = grantee(context, begun, is_new).ok_or(LoginError::SessionOver)?;
    let token_use =
        IdTokenUse::Login { nonce: &login.nonce, max_age: login.max_age, acr_values: &login.acr_values };
    // One that nobody asked for says nothing.
    let facts = if asked.scopes.iter().any(|scope| scope == "openid") {
        let id_token = tokens.id_token.as_ref().ok_or(LoginError::NoIdToken)?;
        let id_token = provider.verify(id_token, &tokens.access_token, token_use).await?;
        let began_at = login.started_at;
        is_of_domain(&CompletedLogin { provider, began_at, id_token: &id_token, tokens })?;
        Some(id_token.facts)
    } else {
        None
    };
    let place = context.place_of(&Principal::Visitor(visitor), connection).await?;
    let mut grant = new_grant(&place, connection, &asked.scopes, tokens, facts, runtime.now());
    grant.consent = Some(asked);
    place.fits(&grant).map_err(LoginError::TooLargeToCarry)?;
    let until = runtime.now().saturating_add(runtime.settings.visitor_lifetime);
    keep_grant(&place, GrantLifetime::Session, grant, until).await?;
    runtime.events().emit(EventCode::Connected, None, format_args!("{}, by a visitor", connection.name));
    let mut answer = redirect(destination.as_str());
    let settings = &runtime.settings;
    let name = settings.cookies.name(COOKIE);
    let cookie =
        settings.cookies.set(&name, &visitor.to_cookie(), settings.visitor_lifetime, SameSitePolicy::Lax);
    cookie::append(answer.headers_mut(), cookie);
    Ok(answer)
}
