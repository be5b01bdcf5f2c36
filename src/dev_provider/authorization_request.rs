//! What an authorization request may say (RFC 6749 section 4.1.1, OpenID Connect Core 1.0 section 3.1.2.1),
//! and how it is replied to. Pure: no clock, no state.

use std::collections::HashSet;

use url::Url;

use super::client::Client;
use super::request::Form;
use crate::protocol::token::scopes;

/// A waiting page keeps its request, so a request is bounded.
const MAX_LENGTH: usize = 16 * 1024;
const MAX_SCOPES: usize = 64;
const MAX_RESOURCES: usize = 16;

/// An authorization request that passed every check.
#[derive(Clone)]
pub(super) struct CheckedAuthorizationRequest {
    pub(super) client_id: String,
    pub(super) reply: Reply,
    pub(super) scopes: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) login_hint: Option<String>,
    /// The `sub` of a valid `id_token_hint`.
    pub(super) hinted_subject: Option<String>,
    /// `prompt=none`: no page, whatever happens.
    pub(super) silent: bool,
    pub(super) consent: bool,
    /// `prompt=login` or `select_account`.
    pub(super) sign_in: bool,
    pub(super) max_age: Option<u64>,
}

/// Where and how the client hears the outcome.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) redirect_uri: String,
    pub(super) form_post: bool,
    pub(super) state: Option<String>,
}

/// A request that goes no further.
pub(super) enum Refusal {
    /// Told to the person: sending the browser on would make an open redirector (RFC 6749 section 4.1.2.1).
    ToPerson(&'static str),
    /// Told to the client, as `error` and `error_description`.
    ToClient(Reply, &'static str, &'static str),
}

impl CheckedAuthorizationRequest {
    pub(super) fn parse(sent: &Form, length: usize, clients: &[Client]) -> Result<Self, Refusal> {
        if length > MAX_LENGTH {
            return Err(Refusal::ToPerson("The request is too long."));
        }
        let (client, reply) = Reply::parse(sent, clients)?;
        Self::parse_rest(sent, client, reply.clone())
            .map_err(|(code, description)| Refusal::ToClient(reply, code, description))
    }

    fn parse_rest(sent: &Form, client: &Client, reply: Reply) -> Result<Self, (&'static str, &'static str)> {
        let invalid = |description| Err(("invalid_request", description));
        if sent.has_repeated() {
            return invalid("a parameter comes twice");
        }
        if !matches!(sent.get("response_mode"), None | Some("query" | "form_post")) {
            return invalid("response_mode must be query or form_post");
        }
        // OpenID Connect Core 1.0 section 3.1.2.6.
        for (parameter, error) in [
            ("request", "request_not_supported"),
            ("request_uri", "request_uri_not_supported"),
            ("registration", "registration_not_supported"),
        ] {
            if sent.get(parameter).is_some() {
                return Err((error, "this way of asking is not supported"));
            }
        }
        if sent.get("response_type").ok_or(("invalid_request", "response_type is missing"))? != "code" {
            return Err(("unsupported_response_type", "response_type must be code"));
        }
        // RFC 9700 section 2.1.1: PKCE is for every client. RFC 7636 section 4.2: 32 bytes as base64url.
        let code_challenge = match (sent.get("code_challenge_method"), sent.get("code_challenge")) {
            (Some("S256"), Some(challenge)) if is_challenge(challenge) => challenge.to_owned(),
            _ => return invalid("PKCE is required: a code_challenge with code_challenge_method=S256"),
        };
        let scopes = parse_scopes(sent.get("scope").unwrap_or_default())
            .ok_or(("invalid_scope", "scope must name up to 64 scopes in RFC 6749's characters"))?;
        let is_resource = |text: &String| Url::parse(text).is_ok_and(|uri| uri.fragment().is_none());
        let resources: Vec<String> = sent.all("resource").map(str::to_owned).collect();
        if resources.len() > MAX_RESOURCES || !resources.iter().all(is_resource) {
            return Err(("invalid_target", "a resource must be an absolute URI without a fragment"));
        }
        let prompts = prompts(sent)?;
        let max_age = match sent.get("max_age").map(str::parse) {
            None => None,
            Some(Ok(seconds)) => Some(seconds),
            Some(Err(_)) => return invalid("max_age must be a number of seconds"),
        };
        Ok(Self {
            client_id: client.id.clone(),
            reply,
            scopes,
            resources,
            code_challenge,
            nonce: sent.get("nonce").map(str::to_owned),
            login_hint: sent.get("login_hint").map(str::to_owned),
            hinted_subject: None,
            silent: prompts.contains(&"none"),
            consent: prompts.contains(&"consent"),
            sign_in: prompts.contains(&"login") || prompts.contains(&"select_account"),
            max_age,
        })
    }
}

fn prompts(sent: &Form) -> Result<Vec<&str>, (&'static str, &'static str)> {
    let prompts: Vec<&str> = sent.get("prompt").unwrap_or_default().split_ascii_whitespace().collect();
    if !prompts.iter().all(|prompt| matches!(*prompt, "none" | "login" | "consent" | "select_account")) {
        return Err(("invalid_request", "prompt has an unknown value"));
    }
    if prompts.contains(&"none") && prompts.len() > 1 {
        return Err(("invalid_request", "prompt=none stands alone"));
    }
    Ok(prompts)
}

impl Reply {
    fn parse<'c>(sent: &Form, clients: &'c [Client]) -> Result<(&'c Client, Self), Refusal> {
        if sent.is_repeated("client_id") || sent.is_repeated("redirect_uri") {
            return Err(Refusal::ToPerson("A parameter comes twice."));
        }
        let client = clients.iter().find(|client| Some(client.id.as_str()) == sent.get("client_id"));
        let client = client.ok_or(Refusal::ToPerson("The application is not registered here."))?;
        // OpenID Connect Core 1.0 section 3.1.2.1: required, and compared as strings.
        let redirect_uri = sent
            .get("redirect_uri")
            .filter(|uri| client.redirect_uris.iter().any(|registered| registered == uri))
            .filter(|uri| Url::parse(uri).is_ok_and(|uri| matches!(uri.scheme(), "http" | "https")))
            .ok_or(Refusal::ToPerson("The application did not register this redirect URI."))?;
        let reply = Self {
            redirect_uri: redirect_uri.to_owned(),
            form_post: sent.get("response_mode") == Some("form_post"),
            state: sent.get("state").map(str::to_owned),
        };
        Ok((client, reply))
    }
}

fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// RFC 6749 section 3.3. Each scope once, in the order asked for; none at all is refused.
pub(super) fn parse_scopes(text: &str) -> Option<Vec<String>> {
    let mut scopes = scopes(text);
    let is_known = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let are_valid = scopes.iter().all(|scope| scope.bytes().all(is_known));
    let mut named = HashSet::new();
    scopes.retain(|scope| named.insert(scope.clone()));
    (are_valid && (1..=MAX_SCOPES).contains(&scopes.len())).then_some(scopes)
}
