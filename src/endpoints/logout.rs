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
use crate::config::Destination;
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::EventCode;
use crate::page;
use crate::protocol::{MAX_REDIRECT, Target, authorization};
use crate::provider::cause;
use crate::secret::Secret;
use crate::sessions::Session;
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
        let linked = runtime.settings.linked(&destination, false);
        let action = logout_path(runtime, None, &linked);
        page::confirmation("Do you want to sign out?", &action, "Sign out", linked.as_str())
    };
    context.admit_by(Target::Logout, decision, ask)?;
    let ending = Logout { runtime, session: &session, jar: context.jar(), destination: &destination };
    Ok(match ending.end().await {
        Ok(Some(at_provider)) => away(runtime, at_provider.answer(context), true),
        Ok(None) => away(runtime, redirect(destination.as_str()), true),
        Err(_) => store_away(&logout_path(runtime, Some(&session), &destination)),
    })
}

/// The end of a session that its person wants, and where they go then.
pub(crate) struct Logout<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) jar: &'a CookieJar,
    pub(crate) destination: &'a Destination,
}

impl Logout<'_> {
    /// Signs a person out for a handler. Returns where their browser goes then, and what the handler's answer sets beside
    /// what the browser carries no more.
    pub(crate) async fn log_out(&self) -> Result<(String, Vec<HeaderValue>), StoreError> {
        let at_provider = self.end().await?;
        let mut cookies = Vec::from(signed_out(self.runtime));
        let Some(mut at_provider) = at_provider else {
            return Ok((self.destination.as_str().to_owned(), cookies));
        };
        if !at_provider.fits_redirect() {
            // A handler answers with an address, and no form. Without the hint the provider asks the person.
            at_provider.parameters.retain(|(name, _)| *name != ID_TOKEN_HINT);
        }
        let url = at_provider.url();
        cookies.extend(at_provider.pending);
        Ok((url.into(), cookies))
    }

    /// Ends the session, with what ends with it. Returns what the provider is asked then.
    async fn end(&self) -> Result<Option<ProviderLogout>, StoreError> {
        let Self { runtime, session, jar, .. } = *self;
        let (shared, ended, carried) = (Arc::clone(runtime), Arc::clone(session), jar.clone());
        // A browser that goes away has signed out all the same.
        let ending = runtime.wholly(async move { end_session(&shared, ended.id, Some(&ended), &carried).await });
        let id_token = ending.await?;
        runtime.events().emit(EventCode::LoggedOut, Some(session.user()), "by the person");
        Ok(self.at_provider(id_token, REMOVALS + jar.leave()).await)
    }

    /// `None` where the provider has no logout, or the configuration does not want it. The answer removes so many bytes.
    async fn at_provider(&self, id_token: Option<Secret>, removals: usize) -> Option<ProviderLogout> {
        let Self { runtime, session, destination, .. } = *self;
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
        let (endpoint, back) = (metadata.end_session_endpoint.as_ref(), &runtime.settings.post_logout_url);
        if let Some(endpoint) = provider.relying_party.filled_logout_url(endpoint, back) {
            return Some(ProviderLogout { endpoint, parameters: Vec::new(), pending: None, set: removals });
        }
        let endpoint = endpoint?.clone();
        let state = runtime.random.token();
        let hint = id_token.as_ref().map(Secret::expose_secret).filter(|hint| !hint.is_empty());
        // RP-Initiated Logout 1.0 section 2.
        let mut parameters = vec![
            ("client_id", provider.relying_party.client_id.clone()),
            ("post_logout_redirect_uri", back.to_string()),
            ("state", state.clone()),
        ];
        parameters.extend(hint.map(|hint| (ID_TOKEN_HINT, hint.to_owned())));
        let return_to = destination.as_str().to_owned();
        let pending = PendingLogout { state: state.clone(), return_to };
        let until = runtime.now().saturating_add(runtime.settings.login_lifetime);
        let pending = PendingCookies::logouts(runtime).sealed(SameSitePolicy::Lax, (&state, until), &pending);
        let set = pending.as_ref().map_or(0, HeaderValue::len) + removals;
        Some(ProviderLogout { endpoint, parameters, pending, set })
    }
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
    /// How many bytes the answer sets, with that cookie.
    set: usize,
}

impl ProviderLogout {
    fn url(&self) -> Url {
        authorization::with_parameters(&self.endpoint, self.parameters.iter().map(|(name, value)| (*name, value)))
    }

    /// Whether a redirect is short enough for everybody on its way.
    fn fits_redirect(&self) -> bool {
        let length = self.url().as_str().len();
        length <= MAX_REDIRECT && length + self.set <= login::HEADER_BUDGET
    }

    fn answer(self, context: &EndpointContext) -> Response<Bytes> {
        let runtime = &context.runtime;
        let answer = if self.fits_redirect() {
            redirect(self.url().as_str())
        } else {
            // RP-Initiated Logout 1.0 section 2: providers must support POST.
            page::self_submitting(self.endpoint.as_str(), &self.parameters, &runtime.random.token())
        };
        // Earlier logouts from which the browser never came back.
        let logouts = PendingCookies::logouts(runtime);
        let former = logouts.all(&context.head.headers).map(|(name, _)| name);
        let cleared = logouts.remove_all(former, self.set);
        cookie::with(answer, cleared.into_iter().chain(self.pending))
    }
}

fn away(runtime: &Runtime, answer: Response<Bytes>, had_cookie: bool) -> Response<Bytes> {
    cookie::with(page::unshared(answer), had_cookie.then(|| signed_out(runtime)).into_iter().flatten())
}

/// What the browser of somebody who signed out is told to keep.
pub(crate) fn signed_out(runtime: &Runtime) -> [HeaderValue; 2] {
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
