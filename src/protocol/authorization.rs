//! The authorization request and its response (OpenID Connect Core 1.0 section 3.1.2, RFC 6749 section 4.1,
//! RFC 7636, RFC 9207).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use openidconnect::core::{CoreAuthPrompt, CoreAuthenticationFlow};
use openidconnect::{CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::client::ProviderClient;
use super::issuer::ProviderIssuer;
use super::setters::setters;
use crate::events::entries;

/// The longest authorization request that is sent as a redirect, in bytes. Longer ones break in browsers,
/// proxies and providers that nobody here controls.
pub(crate) const MAX_REDIRECT: usize = 2048;

entries! {
    pub(crate) name: &'static str =>
    /// How the provider sends its response back (OAuth 2.0 Multiple Response Types, Form Post Response Mode).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[non_exhaustive]
    pub enum ResponseMode {
        /// In the query of a redirect. Works with `SameSite=Lax` cookies.
        #[default]
        Query = "query",
        /// In the body of a cross-site POST: nothing in the address bar, the history or a log. The login's cookie
        /// is then `SameSite=None; Secure`.
        FormPost = "form_post",
    }
}

/// Whether authorization requests are pushed to the provider before the browser goes there (RFC 9126).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushedAuthorizationRequests {
    /// When the metadata requires it, or a request is too long for a redirect.
    #[default]
    Auto,
    /// Each: some providers require it of a client, and their metadata do not say so.
    Always,
    /// None.
    Never,
}

entries! {
    pub(crate) as_str: &'static str =>
    /// A question that the provider asks the person (OpenID Connect Core 1.0 section 3.1.2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[non_exhaustive]
    pub enum Prompt {
        /// Nothing: whoever is not signed in at the provider comes back anonymous.
        None = "none",
        /// To authenticate again.
        Login = "login",
        /// To consent again.
        Consent = "consent",
        /// Which of their accounts to use.
        SelectAccount = "select_account",
    }
}

impl Prompt {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|prompt| prompt.as_str() == name)
    }
}

/// What one login asks for beyond the configuration.
///
/// ```
/// use std::time::Duration;
/// use tower_oidc::{AuthSession, DestinationError, LoginOptions, Prompt};
///
/// fn sign_in_again(auth: &AuthSession) -> Result<String, DestinationError> {
///     let options = LoginOptions::new().prompt(Prompt::Login).max_age(Duration::from_secs(300));
///     auth.login_url_with("/transfer", &options)
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoginOptions {
    /// What the person is asked.
    pub prompt: Option<Prompt>,
    /// The person must have authenticated at the provider within this time, which is checked on return.
    pub max_age: Option<Duration>,
    /// Whom the provider may expect.
    pub login_hint: Option<String>,
    /// Authentication context classes, one of which the ID token must name.
    pub acr_values: Vec<String>,
    /// Further parameters of the authorization request, by name. The provider's
    /// [`login_parameters`](crate::ProviderConfig::login_parameters) must have each name. They replace those of
    /// [`authorization_parameters`](crate::ProviderConfig::authorization_parameters) with the same names. Names and values have
    /// at most 512 bytes together. With several providers each gets those that it allows.
    pub parameters: BTreeMap<String, String>,
}

impl LoginOptions {
    /// Nothing beyond the configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        some prompt: Prompt;
        some max_age: Duration;
        some login_hint: String;
        list acr_values: String;
    }

    /// Adds a [parameter](LoginOptions#structfield.parameters) of the authorization request.
    ///
    /// ```
    /// # use tower_oidc::{Config, LoginOptions, ProviderConfig};
    /// let provider = ProviderConfig::new("https://id.example.org/realms/app", "app").login_parameters(["kc_idp_hint"]);
    /// let with_google = LoginOptions::new().parameter("kc_idp_hint", "google");
    /// ```
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.prompt == Some(Prompt::None)
    }
}

/// What an authorization request says beside who asks.
pub(crate) struct AuthorizationRequest<'a> {
    pub(crate) scopes: &'a [String],
    pub(crate) resources: &'a [String],
    pub(crate) response_mode: ResponseMode,
    pub(crate) state: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) code_verifier: &'a str,
    pub(crate) hosted_domain: Option<&'a str>,
    pub(crate) options: &'a LoginOptions,
    /// What the author adds, such as `access_type=offline`; never one of the names used here.
    pub(crate) additional: &'a [(String, String)],
}

/// Parameters that are this crate's alone (RFC 9700: nothing overrides state, nonce or the challenge).
const RESERVED: &str = "acr_values client_id client_secret code_challenge code_challenge_method hd login_hint max_age nonce \
                        prompt redirect_uri request request_uri resource response_mode response_type scope state";

/// Whether a parameter of the authorization request is this crate's alone.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.split(' ').any(|reserved| reserved == name)
}

/// Parameters of authorization requests that specifications and providers define, and this crate never sends by itself.
const DEFINED: &str = "audience claims claims_locales connection display domain_hint id_token_hint identity_provider \
                       idp_identifier invitation kc_action kc_idp_hint organization registration screen_hint ui_locales";

/// Whether somebody who writes this parameter into the address of a login means the authorization request. Others come with
/// links on their own: mail programs and advertisers add them.
pub(crate) fn is_for_provider(name: &str) -> bool {
    DEFINED.split(' ').any(|defined| defined == name)
}

/// The most bytes of a login's parameters together: they travel on, in addresses and in a cookie.
pub(crate) const MOST_PARAMETERS: usize = 512;

impl AuthorizationRequest<'_> {
    /// What is asked, for a URL, a form or a pushed request.
    pub(crate) fn parameters(&self, client: &ProviderClient) -> Vec<(String, String)> {
        let (state, nonce) = (CsrfToken::new(self.state.to_owned()), Nonce::new(self.nonce.to_owned()));
        let code_verifier = PkceCodeVerifier::new(self.code_verifier.to_owned());
        let LoginOptions { prompt, max_age, login_hint, acr_values, parameters: of_login } = self.options;
        let mut request = client
            .library
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .add_scopes(client.joined(self.scopes))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&code_verifier));
        if let Some(prompt) = prompt {
            // The library writes its own values as these texts.
            request = request.add_prompt(CoreAuthPrompt::Extension(prompt.as_str().to_owned()));
        }
        // OpenID Connect Core 1.0 section 3.1.2.1: what only an ID token can answer. Where none is asked for there are
        // providers that refuse a request which says so; the library always says the nonce.
        let asks_for_id_token = self.scopes.iter().any(|scope| scope == "openid");
        if let Some(max_age) = max_age.filter(|_| asks_for_id_token) {
            request = request.set_max_age(max_age);
        }
        let (url, ..) = request.url();
        let asked = url.query_pairs().into_owned().filter(|(name, _)| asks_for_id_token || name != "nonce");
        let of_author = self.additional.iter().filter(|(name, _)| !of_login.contains_key(name)).cloned();
        let mut parameters: Vec<_> = asked.chain(of_author).chain(of_login.clone()).collect();
        let mut add = |name: &str, value: &str| parameters.push((name.to_owned(), value.to_owned()));
        if self.response_mode == ResponseMode::FormPost {
            add("response_mode", self.response_mode.name());
        }
        let named = self.resources.iter().filter_map(|resource| client.named(Some(resource)));
        named.for_each(|(name, resource)| add(name, resource));
        self.hosted_domain.iter().for_each(|domain| add("hd", domain));
        login_hint.iter().for_each(|hint| add("login_hint", hint));
        if asks_for_id_token && !acr_values.is_empty() {
            add("acr_values", &acr_values.join(" "));
        }
        parameters
    }
}

/// The endpoint's own query is kept (RFC 6749 section 3.1).
pub(crate) fn with_parameters<'a>(endpoint: &Url, pairs: impl IntoIterator<Item = (&'a str, impl AsRef<str>)>) -> Url {
    let mut url = endpoint.clone();
    url.query_pairs_mut().extend_pairs(pairs);
    url
}

/// What came back to the callback.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AuthorizationResponse {
    pub(crate) state: String,
    pub(crate) iss: Option<String>,
    /// JSON about the user, which nobody signed.
    pub(crate) user: Option<String>,
    pub(crate) outcome: AuthorizationOutcome,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationOutcome {
    Code(String),
    /// RFC 6749 section 4.1.2.1.
    Error(String),
}

/// Why a callback is not an authorization response of the code flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the callback is not an authorization response: {0}")]
pub(crate) struct MalformedResponse(pub(crate) &'static str);

impl AuthorizationResponse {
    /// Reads a query or a form body.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, MalformedResponse> {
        let mut found = HashMap::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            match &*name {
                "code" | "state" | "iss" | "user" | "error" | "error_description" => {}
                // Tokens in the front channel are another flow's: somebody mixes responses.
                "id_token" | "access_token" | "token_type" => {
                    return Err(MalformedResponse("unexpected token"));
                }
                // JARM wraps everything; what was not asked for is not unpacked.
                "response" => return Err(MalformedResponse("unexpected response")),
                _ => continue,
            }
            // RFC 6749 section 3.1: parameters MUST NOT be included more than once.
            if found.insert(name, value.into_owned()).is_some() {
                return Err(MalformedResponse("a parameter stands twice"));
            }
        }
        let (iss, user) = (found.remove("iss"), found.remove("user"));
        let mut filled = |name| found.remove(name).filter(|value| !value.is_empty());
        let state = filled("state").ok_or(MalformedResponse("state is missing"))?;
        // Keycloak: its login page was left open for too long, and nothing is wrong.
        let expired = filled("error_description").filter(|text| text == "authentication_expired");
        let outcome = match (filled("code"), filled("error")) {
            (Some(code), None) => AuthorizationOutcome::Code(code),
            (None, Some(code)) => AuthorizationOutcome::Error(expired.unwrap_or(code)),
            (None, None) => return Err(MalformedResponse("code is missing")),
            (Some(_), Some(_)) => return Err(MalformedResponse("both code and error")),
        };
        Ok(Self { state, iss, user, outcome })
    }

    /// The texts at these places of what it says about the user, as one.
    pub(crate) fn name(&self, places: &[String]) -> Option<String> {
        let user: Value = serde_json::from_str(self.user.as_deref()?).ok()?;
        let texts: Vec<_> = places.iter().filter_map(|place| user.pointer(place)?.as_str()).collect();
        let name: String = texts.join(" ").chars().filter(|one| !one.is_control()).take(200).collect();
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// RFC 9207 section 2.4: an `iss` that is there must be the provider's, and must be there if announced.
    pub(crate) fn check_issuer(&self, issuer: &ProviderIssuer, announced: bool) -> Result<(), MalformedResponse> {
        match &self.iss {
            Some(iss) if issuer.covers(iss) => Ok(()),
            None if !announced => Ok(()),
            _ => Err(MalformedResponse("iss is not the provider's")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::client::tests::client;
    use proptest::prelude::*;

    fn issuer() -> ProviderIssuer {
        ProviderIssuer::exact("https://op.test")
    }

    /// That of RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn request<'a>(scopes: &'a [String], options: &'a LoginOptions) -> AuthorizationRequest<'a> {
        AuthorizationRequest {
            scopes,
            resources: &[],
            response_mode: ResponseMode::Query,
            state: "s",
            nonce: "n",
            code_verifier: VERIFIER,
            hosted_domain: None,
            options,
            additional: &[],
        }
    }

    fn values(parameters: &[(String, String)], name: &str) -> Vec<String> {
        parameters.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    }

    #[test]
    fn the_challenge_is_rfc_7636_appendix_b() {
        let options = LoginOptions::default();
        let parameters = request(&["openid".to_owned()], &options).parameters(&client("c"));
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(values(&parameters, "code_challenge"), [challenge]);
        assert_eq!(values(&parameters, "code_challenge_method"), ["S256"]);
    }

    /// Everything that can be asked for stands in the request once; without `openid`, nothing about an ID token.
    #[test]
    fn each_parameter_is_there_once() {
        let options = LoginOptions::new()
            .prompt(Prompt::SelectAccount)
            .max_age(Duration::from_secs(60))
            .login_hint("ann")
            .acr_values(["gold", "silver"]);
        let resources = ["https://a.test".to_owned(), "https://b.test".to_owned()];
        let (with, without) = (["openid".to_owned(), "mail".to_owned()], ["mail".to_owned()]);
        let asked = |scopes| {
            let request = AuthorizationRequest {
                resources: &resources,
                response_mode: ResponseMode::FormPost,
                hosted_domain: Some("example.com"),
                ..request(scopes, &options)
            };
            let mut parameters = request.parameters(&client("c"));
            parameters.sort();
            parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let mut expected = vec![
            "acr_values=gold silver",
            "client_id=c",
            "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method=S256",
            "hd=example.com",
            "login_hint=ann",
            "max_age=60",
            "nonce=n",
            "prompt=select_account",
            "redirect_uri=https://app.test/auth/callback",
            "resource=https://a.test",
            "resource=https://b.test",
            "response_mode=form_post",
            "response_type=code",
            "scope=openid mail",
            "state=s",
        ];
        assert_eq!(asked(&with), expected);
        expected.retain(|said| !["acr_values", "max_age", "nonce"].iter().any(|name| said.starts_with(name)));
        let is_scope = |said: &&mut &str| said.starts_with("scope");
        *expected.iter_mut().find(is_scope).unwrap() = "scope=mail";
        assert_eq!(asked(&without), expected);
        for prompt in [Prompt::None, Prompt::Login, Prompt::Consent, Prompt::SelectAccount] {
            let options = options.clone().prompt(prompt);
            let asked = request(&with, &options).parameters(&client("c"));
            assert_eq!(values(&asked, "prompt"), [prompt.as_str()]);
            assert_eq!(Prompt::from_name(prompt.as_str()), Some(prompt));
        }
    }

    #[test]
    fn a_code_and_an_error_are_read() {
        let code = AuthorizationResponse::parse(b"code=a%2Bb&state=s&iss=https%3A%2F%2Fop.test&extra=1").unwrap();
        assert_eq!(code.outcome, AuthorizationOutcome::Code("a+b".to_owned()));
        assert_eq!(code.check_issuer(&issuer(), true), Ok(()));
        let error = AuthorizationResponse::parse(b"error=access_denied&state=s").unwrap();
        assert_eq!(error.outcome, AuthorizationOutcome::Error("access_denied".to_owned()));
    }

    #[test]
    fn anything_else_is_malformed() {
        for (response, why) in [
            ("", "state is missing"),
            ("code=c", "state is missing"),
            ("code=c&state=", "state is missing"),
            ("state=s", "code is missing"),
            ("state=s&code=", "code is missing"),
            ("state=s&code=c&code=c", "a parameter stands twice"),
            ("state=s&state=s&code=c", "a parameter stands twice"),
            ("state=s&code=c&iss=a&iss=a", "a parameter stands twice"),
            ("state=s&code=c&error=e", "both code and error"),
            ("state=s&code=c&id_token=x", "unexpected token"),
            ("state=s&code=c&access_token=x", "unexpected token"),
            ("response=x.y.z", "unexpected response"),
        ] {
            let refused = AuthorizationResponse::parse(response.as_bytes()).unwrap_err();
            assert_eq!(refused, MalformedResponse(why), "{response}");
        }
    }

    #[test]
    fn the_issuer_parameter_is_compared_exactly_and_required_where_announced() {
        let response = |query: &str| AuthorizationResponse::parse(query.as_bytes()).unwrap();
        assert!(response("code=c&state=s").check_issuer(&issuer(), false).is_ok());
        assert!(response("code=c&state=s").check_issuer(&issuer(), true).is_err());
        assert!(response("code=c&state=s&iss=").check_issuer(&issuer(), false).is_err());
        for other in ["https://op.test/", "https://evil.test", "HTTPS://op.test"] {
            assert!(response(&format!("code=c&state=s&iss={other}")).check_issuer(&issuer(), false).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_never_yield_empty_values(bytes: Vec<u8>) {
            if let Ok(response) = AuthorizationResponse::parse(&bytes) {
                prop_assert!(!response.state.is_empty());
                prop_assert!(response.outcome != AuthorizationOutcome::Code(String::new()));
            }
        }

        /// What is validated is what is sent: each parameter survives the URL as it was.
        #[test]
        fn parameters_survive_the_url(hint in ".{0,40}", own in ".{0,20}") {
            let options = LoginOptions { login_hint: Some(hint.clone()), ..LoginOptions::default() };
            let additional = [("x".to_owned(), own.clone())];
            let scopes = ["openid".to_owned()];
            let request = AuthorizationRequest { additional: &additional, ..request(&scopes, &options) };
            let endpoint = Url::parse("https://op.test/authorize?own=1").unwrap();
            let parameters = request.parameters(&client("c&state=evil"));
            let url = with_parameters(&endpoint, parameters.iter().map(|(name, value)| (name.as_str(), value)));
            let value = |name: &str| values(&url.query_pairs().into_owned().collect::<Vec<_>>(), name);
            prop_assert_eq!(value("login_hint"), [hint]);
            prop_assert_eq!(value("x"), [own]);
            prop_assert_eq!(value("state"), ["s"]);
            prop_assert_eq!(value("client_id"), ["c&state=evil"]);
            prop_assert_eq!(value("own"), ["1"]);
        }
    }
}
