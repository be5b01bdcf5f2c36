//! What an authorization request may say (RFC 6749 section 4.1.1, OpenID Connect Core 1.0 section 3.1.2.1),
//! and how it is replied to. Pure: no clock, no state.

use std::collections::HashSet;

use url::Url;

use super::Client;
use super::request::Form;
use super::response::Refusal;
use crate::protocol::token::scopes;

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
    pub(super) url: Url,
    pub(super) form_post: bool,
    pub(super) state: Option<String>,
}

/// The refusal of a request, as the client reads it: `error` and `error_description` (RFC 6749 section 5.2).
type ReplyError = (&'static str, &'static str);

impl CheckedAuthorizationRequest {
    pub(super) fn parse(sent: &Form, client: &Client, reply: &Reply) -> Result<Self, ReplyError> {
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
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_challenge = |text: &str| text.len() == 43 && text.bytes().all(is_base64url);
        let code_challenge = match (sent.get("code_challenge_method"), sent.get("code_challenge")) {
            (Some("S256"), Some(challenge)) if is_challenge(challenge) => challenge.to_owned(),
            _ => return invalid("PKCE is required: a code_challenge with code_challenge_method=S256"),
        };
        let scopes = parse_scopes(sent.get("scope").unwrap_or_default())
            .ok_or(("invalid_scope", "scope must name up to 64 scopes in RFC 6749's characters"))?;
        let is_resource = |text: &String| Url::parse(text).is_ok_and(|uri| uri.fragment().is_none());
        let resources = sent.resources();
        if resources.len() > MAX_RESOURCES || !resources.iter().all(is_resource) {
            return Err(("invalid_target", "a resource must be an absolute URI without a fragment"));
        }
        let prompts: Vec<&str> = sent.get("prompt").unwrap_or_default().split_ascii_whitespace().collect();
        if !prompts.iter().all(|prompt| matches!(*prompt, "none" | "login" | "consent" | "select_account")) {
            return invalid("prompt has an unknown value");
        }
        if prompts.contains(&"none") && prompts.len() > 1 {
            return invalid("prompt=none stands alone");
        }
        let Ok(max_age) = sent.get("max_age").map(str::parse).transpose() else {
            return invalid("max_age must be a number of seconds");
        };
        Ok(Self {
            client_id: client.id.clone(),
            reply: reply.clone(),
            scopes,
            resources,
            code_challenge,
            nonce: sent.owned("nonce"),
            login_hint: sent.owned("login_hint"),
            hinted_subject: None,
            silent: prompts.contains(&"none"),
            consent: prompts.contains(&"consent"),
            sign_in: prompts.contains(&"login") || prompts.contains(&"select_account"),
            max_age,
        })
    }
}

impl Reply {
    /// Whatever is wrong here is told to the person: sending the browser on would make an open redirector (RFC 6749 section
    /// 4.1.2.1).
    pub(super) fn parse<'c>(sent: &Form, clients: &'c [Client]) -> Result<(&'c Client, Self), Refusal> {
        if sent.is_repeated("client_id") || sent.is_repeated("redirect_uri") {
            return Err(Refusal::page("A parameter comes twice."));
        }
        let client = clients.iter().find(|client| Some(client.id.as_str()) == sent.get("client_id"));
        let client = client.ok_or(Refusal::page("The application is not registered here."))?;
        // OpenID Connect Core 1.0 section 3.1.2.1: required, and compared as strings.
        let (redirect_uri, url) = sent
            .owned("redirect_uri")
            .filter(|uri| client.redirect_uris.contains(uri))
            .and_then(|uri| Url::parse(&uri).ok().map(|url| (uri, url)))
            .filter(|(_, url)| matches!(url.scheme(), "http" | "https"))
            .ok_or(Refusal::page("The application did not register this redirect URI."))?;
        let form_post = sent.get("response_mode") == Some("form_post");
        Ok((client, Self { redirect_uri, url, form_post, state: sent.owned("state") }))
    }
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
