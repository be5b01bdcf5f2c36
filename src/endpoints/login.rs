//! A login begins: the browser goes to the provider with what only this browser can bring back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use super::browser_session::session_id;
use super::choose_provider;
use super::pending::{self, Intent, PendingLogin};
use crate::config::connection::{Registered, push_new};
use crate::config::destination::Destination;
use crate::config::settings::encoded;
use crate::cookie::{self, CrossSite};
use crate::error::{DestinationError, redirect};
use crate::events::EventCode;
use crate::page;
use crate::protocol::authorization::{
    AuthorizationRequest, LoginOptions, MAX_REDIRECT, Prompt, with_parameters,
};
use crate::protocol::token::scopes;
use crate::provider::error::ProviderError;
use crate::provider::relying_party::{ProviderId, RelyingParty};
use crate::provider::{Provider, cause};
use crate::records::grant::encode;
use crate::sessions::session_id::SessionId;
use crate::state::Runtime;

/// The longest `login_hint` and `acr_values`, in bytes: they travel on, and one of them in a cookie.
const LONGEST_OPTION: usize = 512;
/// So many parameters are looked at: each is compared with those before it.
const MOST_PARAMETERS: usize = 64;
/// What a response's headers may have together, in bytes, with room for what the application adds: proxies refuse
/// more than 4 KiB by default.
pub(crate) const HEADER_BUDGET: usize = 3584;
/// How long a browser that could not be signed in silently is not asked again.
const SILENCE: Duration = Duration::from_secs(60);

pub(crate) async fn start(runtime: &Arc<Runtime>, parts: &Parts) -> Response<Bytes> {
    if is_embedded(&parts.headers) {
        return page::plain(StatusCode::FORBIDDEN, "Another site asked to sign you in.");
    }
    let query = parts.uri.query().unwrap_or_default();
    let (named, destination, options) = match parse(runtime, query) {
        Ok(parsed) => parsed,
        Err(refusal) => return page::plain(StatusCode::BAD_REQUEST, &refusal),
    };
    if options.silent && was_silent(runtime, &parts.headers) {
        return redirect(destination.as_str());
    }
    // Nobody is asked anything in a silent login, the choice included: it is the first provider's.
    let silent = named.is_none() && options.silent;
    let provider = match named.or_else(|| {
        runtime.providers.logins().next().filter(|_| silent || !runtime.providers.several_logins())
    }) {
        Some(provider) => Arc::clone(provider),
        None => return choose_provider::page(runtime, &destination, &options),
    };
    let replaces = session_id(runtime, &parts.headers).map(SessionId::bytes);
    let intent = Intent::Login { replaces };
    let again = path(runtime, Some(&provider), &destination, &options);
    begin(runtime, &parts.headers, &Ask { provider, destination, options, intent }, &again).await
}

/// The address of a login; without a provider that of the choice, where there is one.
pub(crate) fn path(
    runtime: &Runtime,
    provider: Option<&Provider>,
    destination: &Destination,
    options: &LoginOptions,
) -> String {
    let mut path = runtime.settings.login_path(destination);
    if let Some(provider) = provider.filter(|_| runtime.providers.several_logins()) {
        path.push_str(&format!("&provider={}", encoded(&provider.relying_party.name)));
    }
    path + &query(options)
}

/// A login, or a grant, is where a person goes. As a picture or a frame of another site it would fill the browser with
/// cookies of logins that nobody finishes (Fetch Metadata sections 2.1 and 2.4).
pub(super) fn is_embedded(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    value("sec-fetch-site") == Some(b"cross-site")
        && value("sec-fetch-dest").is_some_and(|dest| dest != b"document")
}

/// What the provider is asked, and for what.
pub(crate) struct Ask {
    pub(crate) provider: Arc<Provider>,
    pub(crate) destination: Destination,
    pub(crate) options: LoginOptions,
    pub(crate) intent: Intent,
}

/// Sends the browser to the provider; `again` is the address that tries once more.
pub(crate) async fn begin(
    runtime: &Arc<Runtime>,
    headers: &HeaderMap,
    ask: &Ask,
    again: &str,
) -> Response<Bytes> {
    match authorization(runtime, headers, ask).await {
        Ok(response) => {
            runtime.events().emit(EventCode::LoginStarted, None, &ask.provider.relying_party.issuer);
            response
        }
        Err(error) => {
            runtime.events().emit(EventCode::LoginRefused, None, cause(&error));
            match error {
                // Nobody asked for it: the page that the person is on works without.
                _ if ask.options.silent => {
                    let mut answer = redirect(ask.destination.as_str());
                    cookie::append(answer.headers_mut(), silence(runtime));
                    answer
                }
                ProviderError::Refused(_) | ProviderError::Malformed(_) => page::plain(
                    StatusCode::BAD_GATEWAY,
                    "The sign-in service refused this application's request.",
                ),
                _ => unavailable(again),
            }
        }
    }
}

/// The page for a provider that is away; `address` starts the same login once more.
pub(crate) fn unavailable(address: &str) -> Response<Bytes> {
    page::try_again("The sign-in service does not answer at the moment.", address)
}

/// Options as they stand in a login's address.
pub(crate) fn query(options: &LoginOptions) -> String {
    let mut query = String::new();
    let mut push = |name: &str, value: &str| query.push_str(&format!("&{name}={}", encoded(value)));
    if options.silent {
        push("prompt", "none");
    } else if let Some(prompt) = options.prompt {
        push("prompt", prompt.as_str());
    }
    if let Some(max_age) = options.max_age {
        push("max_age", &max_age.as_secs().to_string());
    }
    if let Some(hint) = &options.login_hint {
        push("login_hint", hint);
    }
    if !options.acr_values.is_empty() {
        push("acr_values", &options.acr_values.join(" "));
    }
    query
}

/// What a login's address asks for. A parameter that is not known is nobody's: it never reaches the provider.
fn parse<'a>(
    runtime: &'a Runtime,
    query: &str,
) -> Result<(Option<&'a Arc<Provider>>, Destination, LoginOptions), String> {
    let parameters = Parameters::parse(query)?;
    let named = match parameters.get("provider") {
        None => None,
        Some(name) => {
            let provider = runtime.providers.login_named(name);
            Some(provider.ok_or("There is no sign-in service of that name.")?)
        }
    };
    Ok((named, parameters.destination(runtime)?, parameters.options()?))
}

/// The parameters of an address of ours, each at most once.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if parameters.len() == MOST_PARAMETERS {
                return Err("There are too many parameters.".to_owned());
            }
            if parameters.iter().any(|(seen, _)| *seen == name) {
                return Err("A parameter stands twice.".to_owned());
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The same, where it is not too long to travel on.
    pub(crate) fn bounded(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            Some(value) if value.len() > LONGEST_OPTION => Err(format!("{name} is too long.")),
            value => Ok(value),
        }
    }

    pub(crate) fn destination(&self, runtime: &Runtime) -> Result<Destination, String> {
        let return_to = self.get("return_to").unwrap_or_default();
        runtime.settings.destination(return_to).map_err(|error| match error {
            DestinationError::TooLong { .. } => "The address to come back to is too long.".to_owned(),
            _ => "The address to come back to is not one of this application.".to_owned(),
        })
    }

    pub(crate) fn options(&self) -> Result<LoginOptions, String> {
        let mut options = LoginOptions::default();
        match self.get("prompt") {
            None => {}
            Some("none") => options.silent = true,
            Some(prompt) => {
                options.prompt = Some(Prompt::from_name(prompt).ok_or("This prompt is not known.")?)
            }
        }
        if let Some(max_age) = self.get("max_age") {
            let digits = Some(max_age).filter(|max_age| max_age.bytes().all(|byte| byte.is_ascii_digit()));
            let seconds = digits.and_then(|digits| digits.parse().ok());
            let seconds = seconds.ok_or("max_age is a number of seconds.")?;
            options.max_age = Some(Duration::from_secs(seconds));
        }
        options.login_hint = self.bounded("login_hint")?.map(str::to_owned);
        options.acr_values = self.bounded("acr_values")?.map(scopes).unwrap_or_default();
        Ok(options)
    }
}

async fn authorization(
    runtime: &Arc<Runtime>,
    headers: &HeaderMap,
    ask: &Ask,
) -> Result<Response<Bytes>, ProviderError> {
    let provider = &ask.provider;
    let relying_party = &provider.relying_party;
    let metadata = provider.metadata().await?;
    let mut login = PendingLogin {
        state: runtime.random.token(),
        nonce: runtime.random.token(),
        code_verifier: runtime.random.token(),
        return_to: ask.destination.as_str().to_owned(),
        registration: registration(relying_party),
        silent: ask.options.silent,
        prompted: ask.options.prompt == Some(Prompt::Consent),
        max_age: ask.options.max_age,
        acr_values: ask.options.acr_values.clone(),
        started_at: runtime.now(),
        intent: ask.intent.clone(),
    };
    let (connection, scopes) = asked(runtime, provider, &ask.intent)
        .ok_or(ProviderError::Malformed("there is no such connection"))?;
    let request = AuthorizationRequest {
        client_id: &relying_party.client_id,
        redirect_uri: &relying_party.redirect_uri,
        scopes: &scopes,
        resources: &connection.indicators,
        response_mode: relying_party.response_mode,
        state: &login.state,
        nonce: &login.nonce,
        code_verifier: &login.code_verifier,
        hosted_domain: relying_party.hosted_domain.as_deref(),
        options: &ask.options,
        additional: &relying_party.additional,
    };
    let keep = |login: &PendingLogin| {
        let kept = pending::LOGIN.keep(runtime, relying_party.response_mode, &login.state, login);
        kept.ok_or(ProviderError::Malformed("the login under way cannot be kept"))
    };
    let mut kept = keep(&login)?;
    if pending::is_too_much(runtime, headers, kept.len()) {
        // A long destination beside long options, or beside what the browser carries: the person signs in all the same,
        // and lands at home.
        login.return_to = String::new();
        kept = keep(&login)?;
    }
    let mut cookies = pending::make_room(runtime, headers, kept.len());
    cookies.push(kept);
    let parameters = request.parameters();
    let url = with_parameters(&metadata.authorization_endpoint, parameters.iter().map(|(n, v)| (*n, v)));
    let fits = |url: &Url| {
        let location = url.as_str().len();
        let set: usize = cookies.iter().map(|cookie| cookie.len() + cookie::LINE).sum();
        location <= MAX_REDIRECT && location + set <= HEADER_BUDGET
    };
    let mut response = if fits(&url) && !metadata.requires_par {
        redirect(url.as_str())
    } else if let Some(endpoint) = &metadata.par_endpoint {
        let request_uri = provider.push(endpoint, &parameters).await?;
        let pushed = [("client_id", relying_party.client_id.as_str()), ("request_uri", &request_uri)];
        redirect(with_parameters(&metadata.authorization_endpoint, pushed).as_str())
    } else {
        // OpenID Connect Core 1.0 section 3.1.2.1: providers must support POST.
        page::self_submitting(metadata.authorization_endpoint.as_str(), &parameters, &runtime.random.token())
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for set in cookies {
        cookie::append(headers, set);
    }
    Ok(response)
}

/// The connection that an intent is about, and every scope that is asked for; `None` where that is nothing for this
/// provider.
pub(crate) fn asked<'a>(
    runtime: &'a Runtime,
    provider: &Provider,
    intent: &Intent,
) -> Option<(&'a Registered, Vec<String>)> {
    let id = provider.relying_party.id;
    let connections = runtime.settings.connections(id);
    match intent {
        Intent::Login { .. } => connections.sign_in().map(|login| (login, login.scopes.clone())),
        Intent::Connect { connection, more_scopes, .. } | Intent::Visitor { connection, more_scopes, .. } => {
            let is_visitor = matches!(intent, Intent::Visitor { .. });
            // What visitors may grant is what they may grant at the first provider.
            let connections =
                if is_visitor { runtime.settings.connections(ProviderId::FIRST) } else { connections };
            let connection = connections.named(connection).filter(|connection| connection.provider == id)?;
            let connection = Some(connection).filter(|connection| !is_visitor || connection.visitors)?;
            let mut scopes = if is_visitor { connection.visitor_scopes() } else { connection.scopes.clone() };
            more_scopes.iter().for_each(|scope| push_new(&mut scopes, scope));
            Some((connection, scopes))
        }
    }
}

/// For whom a login was started. A callback for another registration is not its end.
pub(crate) fn registration(relying_party: &RelyingParty) -> [u8; 32] {
    let parts = [&relying_party.issuer, &relying_party.client_id, &relying_party.redirect_uri];
    Sha256::digest(encode(&parts.map(|part| part.as_bytes()))).into()
}

/// Whether this browser could not be signed in silently a moment ago, or has signed out.
pub(crate) fn was_silent(runtime: &Runtime, headers: &HeaderMap) -> bool {
    cookie::find(headers, &runtime.settings.cookies.name("silent")).is_some()
}

/// Keeps a browser from being asked silently again and again.
pub(crate) fn silence(runtime: &Runtime) -> HeaderValue {
    let cookies = &runtime.settings.cookies;
    cookies.set(&cookies.name("silent"), "1", SILENCE, CrossSite::Lax)
}
