//! A login begins: the browser goes to the provider with what only this browser can bring back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, REFERRER_POLICY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use super::page;
use super::pending::{self, PendingLogin};
use crate::cookie::{self, CrossSite};
use crate::destination::Destination;
use crate::error::{DestinationError, redirect};
use crate::events::EventCode;
use crate::grant::encode;
use crate::protocol::authorization::{
    AuthorizationRequest, LoginOptions, MAX_REDIRECT, Prompt, with_parameters,
};
use crate::protocol::token::scopes;
use crate::provider::{ProviderError, cause};
use crate::runtime::Runtime;
use crate::session::SessionId;
use crate::settings::{RelyingParty, encoded};

/// The name by which `?provider=` chooses the one provider there is.
const PROVIDER: &str = "default";
/// The longest `login_hint` and `acr_values`, in bytes: they travel on, and one of them in a cookie.
const LONGEST_OPTION: usize = 512;
/// What a response's headers may have together, in bytes, with room for what the application adds: proxies refuse
/// more than 4 KiB by default.
const HEADER_BUDGET: usize = 3584;
/// How long a browser that could not be signed in silently is not asked again.
const SILENCE: Duration = Duration::from_secs(60);

pub(crate) async fn start(runtime: &Arc<Runtime>, parts: &Parts) -> Response<Bytes> {
    let query = parts.uri.query().unwrap_or_default();
    let (destination, options) = match parse(runtime, query) {
        Ok(parsed) => parsed,
        Err(refusal) => return page::plain(StatusCode::BAD_REQUEST, &refusal),
    };
    if options.silent && was_silent(runtime, &parts.headers) {
        return redirect(destination.as_str());
    }
    match authorization(runtime, parts, &destination, &options).await {
        Ok(response) => {
            runtime.events().emit(EventCode::LoginStarted, None, &runtime.settings.relying_party.issuer);
            response
        }
        Err(error) => {
            runtime.events().emit(EventCode::LoginRefused, None, cause(&error));
            match error {
                ProviderError::Refused(_) | ProviderError::Malformed(_) => page::plain(
                    StatusCode::BAD_GATEWAY,
                    "The sign-in service refused this application's request.",
                ),
                _ => unavailable(&again(runtime, &destination, &options)),
            }
        }
    }
}

/// The page for a provider that is away; `address` starts the same login once more.
pub(crate) fn unavailable(address: &str) -> Response<Bytes> {
    page::try_again("The sign-in service does not answer at the moment.", address)
}

/// Everything that the login was asked with, once more.
fn again(runtime: &Runtime, destination: &Destination, options: &LoginOptions) -> String {
    format!("{}{}", runtime.settings.login_path(destination), query(options))
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
fn parse(runtime: &Runtime, query: &str) -> Result<(Destination, LoginOptions), String> {
    let mut seen: Vec<String> = Vec::new();
    let mut return_to = String::new();
    let mut options = LoginOptions::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if seen.iter().any(|seen| *seen == name) {
            return Err("A parameter stands twice.".to_owned());
        }
        let bounded = || Some(value.clone().into_owned()).filter(|value| value.len() <= LONGEST_OPTION);
        match &*name {
            "return_to" => return_to = value.into_owned(),
            "provider" if value == PROVIDER => {}
            "provider" => return Err("There is no sign-in service of that name.".to_owned()),
            "prompt" if value == "none" => options.silent = true,
            "prompt" => options.prompt = Some(Prompt::from_name(&value).ok_or("This prompt is not known.")?),
            "max_age" => {
                let seconds = value.parse().map_err(|_| "max_age is a number of seconds.")?;
                options.max_age = Some(Duration::from_secs(seconds));
            }
            "login_hint" => options.login_hint = Some(bounded().ok_or("login_hint is too long.")?),
            "acr_values" => options.acr_values = scopes(&bounded().ok_or("acr_values is too long.")?),
            _ => continue,
        }
        seen.push(name.into_owned());
    }
    let destination = runtime.settings.destination(&return_to).map_err(|error| match error {
        DestinationError::TooLong { .. } => "The address to come back to is too long.".to_owned(),
        _ => "The address to come back to is not one of this application.".to_owned(),
    })?;
    Ok((destination, options))
}

async fn authorization(
    runtime: &Arc<Runtime>,
    parts: &Parts,
    destination: &Destination,
    options: &LoginOptions,
) -> Result<Response<Bytes>, ProviderError> {
    let relying_party = &runtime.settings.relying_party;
    let metadata = runtime.provider.metadata().await?;
    let login = PendingLogin {
        state: runtime.random.token(),
        nonce: runtime.random.token(),
        code_verifier: runtime.random.token(),
        return_to: destination.as_str().to_owned(),
        registration: registration(relying_party),
        silent: options.silent,
        max_age: options.max_age,
        acr_values: options.acr_values.clone(),
        started_at: runtime.now(),
        replaces: cookie::find(&parts.headers, &runtime.settings.session_cookie)
            .and_then(SessionId::from_cookie)
            .map(SessionId::bytes),
    };
    let request = AuthorizationRequest {
        client_id: &relying_party.client_id,
        redirect_uri: &relying_party.redirect_uri,
        scopes: &relying_party.scopes,
        resources: &relying_party.indicators,
        response_mode: relying_party.response_mode,
        state: &login.state,
        nonce: &login.nonce,
        code_verifier: &login.code_verifier,
        hosted_domain: relying_party.hosted_domain.as_deref(),
        options,
        additional: &relying_party.additional,
    };
    let kept = pending::LOGIN
        .keep(runtime, &login.state, &login)
        .ok_or(ProviderError::Malformed("the login under way cannot be kept"))?;
    let mut cookies = pending::make_room(runtime, &parts.headers, kept.len());
    cookies.push(kept);
    let parameters = request.parameters();
    let url = with_parameters(&metadata.authorization_endpoint, parameters.iter().map(|(n, v)| (*n, v)));
    let fits = |url: &Url| {
        let location = url.as_str().len();
        let set: usize = cookies.iter().map(|cookie| cookie.len() + "set-cookie: \r\n".len()).sum();
        location <= MAX_REDIRECT && location + set <= HEADER_BUDGET
    };
    let mut response = if fits(&url) && !metadata.requires_par {
        redirect(url.as_str())
    } else if let Some(endpoint) = &metadata.par_endpoint {
        let request_uri = runtime.provider.push(endpoint, &parameters).await?;
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
