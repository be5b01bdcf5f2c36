//! Logout: here first, then at the provider, then on to where the person wanted to go.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, Uri};
use subtle::ConstantTimeEq;
use url::Url;

use super::context::{EndpointAnswer, EndpointContext};
use super::end_session::end_session;
use super::login;
use super::parameters::EndpointQuery;
use super::pending::{PendingCookies, PendingLogout};
use super::urls::logout_path;
use crate::config::destination::Destination;
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::EventCode;
use crate::page;
use crate::protocol::authorization::{MAX_REDIRECT, with_parameters};
use crate::protocol::fetch_metadata::Target;
use crate::provider::cause;
use crate::secret::Secret;
use crate::sessions::session::Session;
use crate::state::Runtime;
use crate::stateless::CookieJar;
use crate::store::StoreError;

/// The parameter of a logout request that says who signs out: their ID token.
const ID_TOKEN_HINT: &str = "id_token_hint";

/// What [`signed_out`] sets, in bytes.
const REMOVALS: usize = 256;

pub(crate) async fn logout(context: &Arc<EndpointContext>) -> EndpointAnswer {
    let runtime = &context.runtime;
    let (given, destination) = EndpointQuery::with_destination(context)?;
    let had_cookie = context.session_cookie().is_some();
    let session = match context.signed_in().await {
        Ok(Some(session)) => session,
        // Twice, or without a session: the person is where they wanted to be.
        Ok(None) => {
            if had_cookie {
                context.jar().leave();
            }
            return Ok(away(runtime, redirect(destination.as_str()), had_cookie));
        }
        Err(_) => return Ok(store_away(&logout_path(runtime, None, &destination))),
    };
    let token = given.get("token").and_then(|token| URL_SAFE_NO_PAD.decode(token).ok());
    let token = token.is_some_and(|token| token.ct_eq(&session.logout_token).into());
    let decision = context.decide(Target::Logout, true, token);
    let ask = || {
        let action = logout_path(runtime, None, &runtime.settings.linked(&destination, false));
        page::confirmation("Do you want to sign out?", &action, "Sign out")
    };
    context.admit_by(Target::Logout, decision, ask)?;
    Ok(match end(runtime, &session, context.jar()).await {
        Ok(id_token) => away(runtime, leave(context, &session, id_token.as_ref(), &destination).await, true),
        Err(_) => store_away(&logout_path(runtime, Some(&session), &destination)),
    })
}

/// Ends a session, with what ends with it, because its person wants that. Returns the ID token.
async fn end(
    runtime: &Arc<Runtime>,
    session: &Arc<Session>,
    jar: &CookieJar,
) -> Result<Option<Secret>, StoreError> {
    // In a task of its own: a browser that goes away has signed out all the same, wholly.
    let ending = {
        let (runtime, session, jar) = (Arc::clone(runtime), Arc::clone(session), jar.clone());
        async move { end_session(&runtime, session.id, Some(&session), &jar).await }
    };
    let ended = runtime.tasks.spawn(ending).await;
    let id_token = ended
        .unwrap_or_else(|error| Err(StoreError::outcome_unknown("the task that asked it ended", error)))?;
    runtime.events().emit(EventCode::LoggedOut, Some(session.user()), "by the person");
    Ok(id_token)
}

/// Signs a person out for a handler. Returns where their browser goes then, and what the handler's answer sets beside
/// what the browser carries no more.
pub(crate) async fn log_out(
    runtime: &Arc<Runtime>,
    session: &Arc<Session>,
    jar: &CookieJar,
    destination: &Destination,
) -> Result<(String, Vec<HeaderValue>), StoreError> {
    let id_token = end(runtime, session, jar).await?;
    let removals = REMOVALS + jar.leave();
    let mut cookies = Vec::from(signed_out(runtime));
    let at_provider = ProviderLogout::of(runtime, session, id_token.as_ref(), destination).await;
    let Some(mut at_provider) = at_provider else {
        return Ok((destination.as_str().to_owned(), cookies));
    };
    if !at_provider.fits_redirect(removals) {
        // A handler answers with an address, and no form. Without the hint the provider asks the person.
        at_provider.parameters.retain(|(name, _)| *name != ID_TOKEN_HINT);
    }
    let url = at_provider.url();
    cookies.extend(at_provider.pending);
    Ok((url.into(), cookies))
}

fn store_away(address: &str) -> Response<Bytes> {
    page::try_again("You cannot be signed out at the moment.", address)
}

/// A request to the logout of the provider where a person signed in.
struct ProviderLogout {
    endpoint: Url,
    parameters: Vec<(&'static str, String)>,
    /// The cookie that knows the browser when it comes back.
    pending: Option<HeaderValue>,
}

impl ProviderLogout {
    /// `None` where the provider has no logout, or the configuration does not want it.
    async fn of(
        runtime: &Runtime,
        session: &Session,
        id_token: Option<&Secret>,
        destination: &Destination,
    ) -> Option<Self> {
        let provider = runtime.signed_in_at(session)?;
        if !provider.relying_party.logout_at_provider {
            return None;
        }
        // The next person at this browser would otherwise be the last one, at the provider.
        let skipped = |error| {
            let why = format_args!("{}: {}", provider.relying_party.issuer.url, cause(&error));
            runtime.events().emit(EventCode::LogoutNotAtProvider, Some(session.user()), why);
        };
        let metadata = provider.metadata_soon().await.map_err(skipped).ok()?;
        let endpoint = metadata.end_session_endpoint.clone()?;
        let state = runtime.random.token();
        let hint = id_token.map(Secret::expose_secret).filter(|hint| !hint.is_empty());
        // RP-Initiated Logout 1.0 section 2.
        let mut parameters = vec![
            ("client_id", provider.relying_party.client_id.clone()),
            ("post_logout_redirect_uri", runtime.settings.post_logout_url.to_string()),
            ("state", state.clone()),
        ];
        parameters.extend(hint.map(|hint| (ID_TOKEN_HINT, hint.to_owned())));
        let return_to = destination.as_str().to_owned();
        let pending = PendingLogout { state: state.clone(), return_to };
        let until = runtime.now().saturating_add(runtime.settings.login_lifetime);
        let pending = PendingCookies::logouts(runtime).sealed(SameSitePolicy::Lax, (&state, until), &pending);
        Some(Self { endpoint, parameters, pending })
    }

    fn url(&self) -> Url {
        with_parameters(&self.endpoint, self.parameters.iter().map(|(name, value)| (*name, value)))
    }

    /// How many bytes an answer sets that removes so many.
    fn set(&self, removals: usize) -> usize {
        self.pending.as_ref().map_or(0, HeaderValue::len) + removals
    }

    /// Whether a redirect with these removals is short enough for everybody on its way.
    fn fits_redirect(&self, removals: usize) -> bool {
        let length = self.url().as_str().len();
        length <= MAX_REDIRECT && length + self.set(removals) <= login::HEADER_BUDGET
    }
}

/// To the logout of the provider, where it has one, else straight on.
async fn leave(
    context: &EndpointContext,
    session: &Session,
    id_token: Option<&Secret>,
    destination: &Destination,
) -> Response<Bytes> {
    let (runtime, removals) = (&context.runtime, REMOVALS + context.jar().leave());
    let Some(at_provider) = ProviderLogout::of(runtime, session, id_token, destination).await else {
        return redirect(destination.as_str());
    };
    let answer = if at_provider.fits_redirect(removals) {
        redirect(at_provider.url().as_str())
    } else {
        // RP-Initiated Logout 1.0 section 2: providers must support POST.
        let ProviderLogout { endpoint, parameters, .. } = &at_provider;
        page::self_submitting(endpoint.as_str(), parameters, &runtime.random.token())
    };
    // Earlier logouts from which the browser never came back.
    let logouts = PendingCookies::logouts(runtime);
    let former = logouts.all(&context.head.headers).map(|(name, _)| name);
    let cleared = logouts.remove_all(former, at_provider.set(removals));
    cookie::with(answer, cleared.into_iter().chain(at_provider.pending))
}

fn away(runtime: &Runtime, answer: Response<Bytes>, had_cookie: bool) -> Response<Bytes> {
    cookie::with(page::unshared(answer), had_cookie.then(|| signed_out(runtime)).into_iter().flatten())
}

/// What the browser of somebody who signed out is told to keep.
fn signed_out(runtime: &Runtime) -> [HeaderValue; 2] {
    let settings = &runtime.settings;
    let removal = settings.cookies.remove(&settings.session_cookie, SameSitePolicy::Lax);
    // Who signs out wants to be out: a silent login would bring them straight back.
    [removal, login::silence(runtime)]
}

/// The browser comes back from the provider's logout: on to where it wanted to go.
///
/// Only with the `state` that was sent, in the browser that was sent (RP-Initiated Logout 1.0 section 3).
/// Everything else is a request like any other.
pub(crate) fn returned(runtime: &Runtime, uri: &Uri, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let query = uri.query()?;
    let (_, state) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state")?;
    let public = runtime.settings.public_path(uri.path());
    let expected = runtime.settings.post_logout_url.path();
    if public.trim_end_matches('/') != expected.trim_end_matches('/') {
        return None;
    }
    let logouts = PendingCookies::logouts(runtime);
    let (pending, is_over) = logouts.find::<PendingLogout>(headers, &state)?;
    if is_over || !bool::from(pending.state.as_bytes().ct_eq(state.as_bytes())) {
        return None;
    }
    let destination = runtime.settings.destination(&pending.return_to).ok()?;
    let answer = page::unshared(redirect(destination.as_str()));
    Some(cookie::with(answer, logouts.remove(&state)))
}
