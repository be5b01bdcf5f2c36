//! Visitors: somebody grants access to their own data without signing in, and the browser owns what they granted.
//!
//! 1. The browser gets a random name with each grant, and what it was granted before goes on under it: a name that somebody
//!    put there is worth nothing after it. What is kept is kept for the name's hash. Grants under way in several tabs come
//!    to one name. (But for tabs that begin at the same moment and finish one after the other with `form_post`, which
//!    brings no name along: the last one's counts. Where the browser carries its grants, and a form brings none of them,
//!    it keeps its name.)
//! 2. A visitor's grant never answers for a person, nor a person's for a visitor; signing in hands nothing over.
//! 3. Nobody is known by it. An ID token counts where `openid` was asked for, and then it must hold.

use super::context::EndpointContext;
use super::login;
use super::login_error::{LoginAnswer, LoginError};
use super::pending::{Intent, PendingCookies, PendingLogin};
use super::sign_in::Issued;
use super::urls;
use crate::config::CheckedConnection;
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::EventCode;
use crate::protocol::LoginOptions;
use crate::records::{BlindIndexKey, Grant};
use crate::sessions::{COOKIE, Visitor};
use crate::store::StoreError;
use crate::tokens::{Principal, VisitorGrants};

/// The names that this browser is about to get, by the grants under way in it. Their cookies are sealed, and no other
/// browser has them.
fn becoming(context: &EndpointContext) -> impl Iterator<Item = [u8; 32]> {
    let logins = PendingCookies::logins(&context.runtime);
    logins.under_way::<PendingLogin>(&context.head.headers).filter_map(|login| match login.intent {
        Intent::Visitor { visitor, .. } => Some(visitor),
        _ => None,
    })
}

/// The name that the browser has, and the one that it gets with a grant that was begun in it; `None` where the browser has
/// become somebody else since.
fn renamed(
    context: &EndpointContext, index: &BlindIndexKey, name: [u8; 32], before: Option<Visitor>,
) -> Option<(Option<Visitor>, Visitor)> {
    // The smallest: whoever sees several that began at the same moment chooses the same.
    let new = Visitor::new(becoming(context).fold(name, Ord::min));
    match (context.visitor(), before) {
        (None, before) => Some((before, new)),
        (Some(present), before) => {
            // Another tab may have finished first.
            let is_its_own = before.is_none_or(|before| before == present) || present.is_made(index);
            is_its_own.then_some((Some(present), new))
        }
    }
}

/// The intent with which a visitor goes to the provider, who is asked for `more` scopes than always.
pub(crate) async fn intent(
    context: &EndpointContext, connection: &CheckedConnection, options: &mut LoginOptions, more: &[String],
) -> Result<Intent, StoreError> {
    let (runtime, present) = (&context.runtime, context.visitor());
    let before = present.map(Visitor::bytes);
    let visitor = becoming(context).filter(|name| Some(*name) != before).min();
    let index = runtime.records.index().await?;
    let visitor = visitor.unwrap_or_else(|| Visitor::random(runtime.random.bytes(), &index).bytes());
    let granted = match present {
        Some(present) => context.granted(&Principal::Visitor(present), connection).await?,
        None => None,
    };
    let (granted, always) = (granted.as_deref(), connection.visitor_scopes());
    let more_scopes = login::scopes_besides(runtime, connection, granted, (&always, more), options);
    Ok(Intent::Visitor { visitor, before, connection: connection.name.clone(), more_scopes })
}

/// Keeps what a visitor granted, for the browser in which they began.
pub(crate) async fn finish(issued: &Issued<'_>, name: [u8; 32], before: Option<Visitor>) -> LoginAnswer {
    let Issued { context, connection, .. } = issued;
    let runtime = &context.runtime;
    let index = runtime.records.index().await?;
    let (former, visitor) = renamed(context, &index, name, before).ok_or(LoginError::SessionOver)?;
    // One that nobody asked for says nothing.
    let is_asked = issued.scopes.iter().any(|scope| scope == "openid");
    let facts = if is_asked { Some(issued.id_token().await?.facts) } else { None };
    let granted_by = |visitor| VisitorGrants { runtime, visitor, jar: context.jar() };
    let (former, visitor) = match former.filter(|former| *former != visitor) {
        Some(former) if granted_by(former).can_rename().await? => (Some(former), visitor),
        Some(former) => (None, former),
        None => (None, visitor),
    };
    let place = runtime.place_of(&Principal::Visitor(visitor), connection, context.jar()).await?;
    let mut grant = issued.grant(&place, facts);
    let mut replaced = None;
    if let Some(former) = former {
        let former = runtime.place_of(&Principal::Visitor(former), connection, context.jar()).await?;
        let newest = former.newest().await?.0;
        let newest = newest.map(|newest| Grant { owner: place.owner.clone(), ..Grant::clone(&newest) });
        grant = grant.consented_again(newest.as_ref());
        replaced = Some(former);
    }
    place.fits(&grant, replaced.as_ref()).map_err(LoginError::TooLargeToCarry)?;
    let until = runtime.now().saturating_add(runtime.settings.visitor_lifetime);
    place.keep(grant, until).await?;
    if let Some(former) = former {
        // The browser has the new name from here on, whatever fails: what is left under the old one expires.
        let _ = granted_by(former).rename(visitor).await;
    }
    runtime.events().emit(EventCode::Connected, None, format_args!("{}, by a visitor", connection.name));
    let key = urls::proof_key(None, Some(visitor)).filter(|_| issued.login.own);
    let answer = redirect(&urls::onwards(runtime, key.as_deref(), issued.destination));
    let (cookies, lifetime) = (&runtime.settings.cookies, runtime.settings.visitor_lifetime);
    let name = cookies.name(COOKIE);
    Ok(cookie::with(answer, [cookies.set(&name, &visitor.to_cookie(), lifetime, SameSitePolicy::Lax)]))
}
