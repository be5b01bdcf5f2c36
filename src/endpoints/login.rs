//! A login begins: the browser goes to the provider with what only this browser can bring back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::context::{EndpointAnswer, EndpointContext};
use super::parameters::EndpointQuery;
use super::pending::{self, Intent, PendingLogin};
use super::urls::{AGAIN, path, proof_key, with_proof};
use crate::config::connection::distinct;
use crate::config::{CheckedConnection, Destination, ProviderChoice};
use crate::cookie::{self, SameSitePolicy};
use crate::error::redirect;
use crate::events::{EventCode, guarded};
use crate::page;
use crate::protocol::{
    AuthorizationRequest, Decision, LoginOptions, MAX_REDIRECT, Prompt, ProviderClient, ResponseMode, Target,
    authorization,
};
use crate::provider::{Provider, ProviderError, ProviderId, RelyingParty, cause};
use crate::records::{Grant, encode};
use crate::sessions::SessionId;
use crate::state::Runtime;

/// What a response's headers may have together, in bytes, with room for what the application adds: proxies refuse
/// more than 4 KiB by default.
pub(crate) const HEADER_BUDGET: usize = 3584;

pub(crate) async fn start(context: &EndpointContext) -> EndpointAnswer {
    if let Some(address) = context.at_public_name() {
        return Ok(redirect(&address));
    }
    let (runtime, headers) = (&context.runtime, &context.head.headers);
    // The store is asked who is signed in only where that matters.
    let session = match context.decide(Target::Login, true, false) {
        Decision::Ask => context.signed_in().await,
        _ => Ok(None),
    };
    // A parameter that is not known is nobody's: it never reaches the provider.
    let (given, destination) = EndpointQuery::with_destination(context)?;
    let unknown = || page::bad_request("There is no sign-in service with that name.");
    let named = given.get("provider").map(|name| runtime.providers.login_named(name).ok_or_else(unknown));
    let named = named.transpose()?;
    let mut options = given.of_login(&runtime.providers, named.map(|named| &**named))?;
    let key = proof_key(session.as_ref().ok().and_then(|session| session.as_deref()), None);
    let own = context.is_own(context.is_proven(key.as_deref()));
    let linked = runtime.settings.linked(&destination, own);
    if session.is_err() {
        return Err(page::try_again("You cannot be signed in at the moment.", linked.as_str()));
    }
    let ask = || ask(path(runtime, named.map(|named| &**named), &linked, &options), &linked);
    context.admit(Target::Login, key.as_deref(), ask)?;
    if options.is_silent() && was_silent(runtime, headers) {
        return Ok(redirect(destination.as_str()));
    }
    // Nobody is asked anything in a silent login, the choice included: it is the first provider's.
    let is_chosen = named.is_some() || options.is_silent() || !runtime.providers.several_logins();
    let provider = named.or_else(|| runtime.providers.logins().next()).filter(|_| is_chosen).cloned();
    let Some(provider) = provider else {
        return Ok(choice(runtime, &linked, &options));
    };
    options.parameters.retain(|name, _| runtime.providers.allow(Some(&provider), name));
    // A GET brings the session's cookie along.
    let is_posted = provider.relying_party.response_mode == ResponseMode::FormPost;
    let replaces = context.session_id().filter(|_| is_posted).map(SessionId::bytes);
    let intent = Intent::Login { replaces };
    let again = path(runtime, Some(&provider), &linked, &options);
    Ok(AuthorizationAttempt { provider, destination, options, intent, own, again }.begin(context).await)
}

/// Several providers to sign in at, and none chosen: the application's page, or the layer's own, where a person chooses.
fn choice(runtime: &Runtime, destination: &Destination, options: &LoginOptions) -> Response<Bytes> {
    let choices = choices(runtime, None, destination, options);
    let choose = runtime.hooks.choose.as_ref();
    let page = choose.and_then(|hook| guarded("the hook for the provider selection page", || hook(&choices)));
    page.unwrap_or_else(|| ProviderChoice::page(&choices))
}

/// Every provider to sign in at, in the order of the configuration; each address asks for the same otherwise, with the
/// proof that this key makes.
pub(crate) fn choices(
    runtime: &Runtime, key: Option<&[u8]>, destination: &Destination, options: &LoginOptions,
) -> Vec<ProviderChoice> {
    let choice = |provider: &Arc<Provider>| ProviderChoice {
        provider: provider.relying_party.name.clone(),
        display_name: provider.relying_party.display_name.clone(),
        login_url: with_proof(runtime, key, path(runtime, Some(provider), destination, options)),
    };
    runtime.providers.logins().map(choice).collect()
}

/// What the provider is asked, and for what.
pub(crate) struct AuthorizationAttempt {
    pub(crate) provider: Arc<Provider>,
    pub(crate) destination: Destination,
    pub(crate) options: LoginOptions,
    pub(crate) intent: Intent,
    /// The application itself, or its user, began it.
    pub(crate) own: bool,
    /// The address that starts the same once more.
    pub(crate) again: String,
}

/// Another site leads somebody to the login who is signed in: a login in its place is theirs to want.
fn ask(again: String, destination: &Destination) -> Response<Bytes> {
    let text = "You are signed in. Another site sent you here to sign in again.";
    let links = [(destination.as_str(), "Continue"), (again.as_str(), "Sign in again")];
    page::page(StatusCode::OK, "Do you want to sign in again?", text, &links)
}

impl AuthorizationAttempt {
    /// Sends the browser to the provider.
    pub(crate) async fn begin(&self, context: &EndpointContext) -> Response<Bytes> {
        let events = context.runtime.events();
        match self.request(context).await {
            Ok(response) => {
                let RelyingParty { issuer, redirect_uri, .. } = &self.provider.relying_party;
                let told = format_args!("{}, which must have the redirect URI {redirect_uri}", issuer.url);
                events.emit(EventCode::LoginStarted, None, told);
                response
            }
            Err(error) => {
                events.emit(EventCode::LoginRefused, None, cause(&error));
                match error {
                    // Nobody asked for it: the page that the person is on works without.
                    _ if self.options.is_silent() => {
                        cookie::with(redirect(self.destination.as_str()), [silence(&context.runtime)])
                    }
                    ProviderError::Refused(_) | ProviderError::Malformed(_) => {
                        page::plain(StatusCode::BAD_GATEWAY, "The sign-in service refused this application's request.")
                    }
                    _ => unavailable(&self.again),
                }
            }
        }
    }

    /// The authorization request, on its way, and what the browser keeps of it.
    async fn request(&self, context: &EndpointContext) -> Result<Response<Bytes>, ProviderError> {
        let (runtime, provider) = (&context.runtime, &self.provider);
        let relying_party = &provider.relying_party;
        let metadata = provider.metadata().await?;
        let login = PendingLogin {
            seed: runtime.random.bytes(),
            return_to: self.destination.as_str().to_owned(),
            registration: registration(relying_party),
            silent: self.options.is_silent(),
            prompted: self.options.prompt == Some(Prompt::Consent),
            max_age: self.options.max_age,
            acr_values: self.options.acr_values.clone(),
            parameters: self.options.parameters.clone(),
            started_at: runtime.next_moment(),
            intent: self.intent.clone(),
            own: self.own,
            is_again: context.query().ends_with(AGAIN),
        };
        let (connection, scopes) =
            asked(runtime, provider, &self.intent).ok_or(ProviderError::Malformed("there is no such connection"))?;
        let request = AuthorizationRequest {
            scopes: &scopes,
            resources: &connection.indicators,
            response_mode: relying_party.response_mode,
            state: &login.state(),
            nonce: &login.nonce(),
            code_verifier: &login.code_verifier(),
            hosted_domain: relying_party.hosted_domain.as_deref(),
            options: &self.options,
            additional: &relying_party.authorization_parameters,
        };
        let parameters = request.parameters(&metadata);
        let cookies = pending::begin(context, relying_party.response_mode, login)
            .ok_or(ProviderError::Malformed("the login under way cannot be kept"))?;
        let set: usize = cookies.iter().map(|cookie| cookie.len() + cookie::LINE).sum();
        let response = transport(runtime, provider, &metadata, &parameters, set).await?;
        Ok(cookie::with(page::unshared(response), cookies))
    }
}

/// How long a browser that could not be signed in silently is not asked again.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether this browser could not be signed in silently a moment ago, or has signed out.
pub(crate) fn was_silent(runtime: &Runtime, headers: &HeaderMap) -> bool {
    cookie::find(headers, &runtime.settings.cookies.name("silent")).is_some()
}

/// Keeps a browser from being asked silently again and again.
pub(crate) fn silence(runtime: &Runtime) -> HeaderValue {
    let cookies = &runtime.settings.cookies;
    cookies.set(&cookies.name("silent"), "1", SILENCE, SameSitePolicy::Lax)
}

/// Lets it be asked again.
pub(crate) fn end_silence(runtime: &Runtime) -> HeaderValue {
    let cookies = &runtime.settings.cookies;
    cookies.remove(&cookies.name("silent"), SameSitePolicy::Lax)
}

/// The page for a provider that is away; `address` starts the same login once more.
pub(crate) fn unavailable(address: &str) -> Response<Bytes> {
    page::try_again("The sign-in service does not answer at the moment.", address)
}

/// The way of an authorization request to the provider: in the address where it fits beside `set` bytes of cookies, pushed
/// (RFC 9126) where the provider takes that, or by a form.
async fn transport(
    runtime: &Runtime, provider: &Arc<Provider>, metadata: &ProviderClient, parameters: &[(String, String)], set: usize,
) -> Result<Response<Bytes>, ProviderError> {
    let endpoint = &metadata.authorization_endpoint;
    let named = parameters.iter().map(|(name, value)| (name.as_str(), value));
    let url = authorization::with_parameters(endpoint, named);
    let location = url.as_str().len();
    let (may_push, must_push) = provider.pushes(metadata);
    if location <= MAX_REDIRECT && location + set <= HEADER_BUDGET && !must_push {
        return Ok(redirect(url.as_str()));
    }
    if may_push {
        let request_uri = provider.push(metadata, parameters).await?;
        let pushed = [("client_id", provider.relying_party.client_id.as_str()), ("request_uri", &request_uri)];
        return Ok(redirect(authorization::with_parameters(endpoint, pushed).as_str()));
    }
    // OpenID Connect Core 1.0 section 3.1.2.1: providers must support POST.
    Ok(page::self_submitting(endpoint.as_str(), parameters, &runtime.random.token()))
}

/// The connection that an intent is about, and every scope that is asked for; `None` where that is nothing for this
/// provider.
pub(crate) fn asked<'a>(
    runtime: &'a Runtime, provider: &Provider, intent: &Intent,
) -> Option<(&'a CheckedConnection, Vec<String>)> {
    let id = provider.relying_party.id;
    let connections = runtime.settings.connections(id);
    match intent {
        Intent::Login { .. } => connections.sign_in.as_ref().map(|login| (login, login.scopes.clone())),
        Intent::Connect { connection, more_scopes, .. } => {
            let connection = connections.named(connection).filter(|connection| connection.provider == id)?;
            Some((connection, distinct(connection.scopes.iter().chain(more_scopes))))
        }
        Intent::Visitor { connection, more_scopes, .. } => {
            let connection = of_visitors(runtime, connection).filter(|connection| connection.provider == id)?;
            Some((connection, distinct(connection.visitor_scopes().iter().chain(more_scopes))))
        }
    }
}

/// The connection of this name, if visitors may grant it: what they may grant at the first provider.
pub(crate) fn of_visitors<'a>(runtime: &'a Runtime, name: &str) -> Option<&'a CheckedConnection> {
    let connections = runtime.settings.connections(ProviderId::FIRST);
    connections.named(name).filter(|connection| connection.visitors)
}

/// For whom a login was started. A callback for another registration is not its end.
pub(crate) fn registration(relying_party: &RelyingParty) -> [u8; 16] {
    let parts = [&relying_party.issuer.url, &relying_party.client_id, &relying_party.redirect_uri];
    let hash: [u8; 32] = Sha256::digest(encode(&parts.map(|part| part.as_bytes()))).into();
    std::array::from_fn(|place| hash[place])
}

/// The scopes besides those that are `always` asked for: what is asked for now must not take away what was granted before.
/// Where scopes of a consent without a refresh token have lapsed, the options get `prompt=consent`, once: a refresh token
/// comes with it.
pub(super) fn scopes_besides(
    runtime: &Runtime, connection: &CheckedConnection, granted: Option<&Grant>, (always, more): (&[String], &[String]),
    options: &mut LoginOptions,
) -> Vec<String> {
    let before = granted.into_iter().flat_map(Grant::all_scopes).filter(|scope| connection.knows(scope));
    let besides = distinct(before.chain(more).filter(|scope| !always.contains(scope)));
    let now = runtime.now();
    let prompts = runtime.providers.get(connection.provider).relying_party.prompts_for_refresh_token;
    let ended = |grant: &Grant| prompts && !grant.can_serve(now) && !grant.was_prompted();
    let lapsed = |grant: &Grant| grant.needs_prompt(always, now) || grant.needs_prompt(&besides, now) || ended(grant);
    if options.prompt.is_none() && granted.is_some_and(lapsed) {
        options.prompt = Some(Prompt::Consent);
    }
    besides
}
