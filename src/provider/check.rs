//! Checks of a provider, and of the registration there, before anybody signs in.

use bytes::Bytes;
use http::header::{DATE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::{Provider, ProviderError, cause, request};
use crate::cookie::http_date;
use crate::events::entries;
use crate::protocol::authorization::with_parameters;
use crate::protocol::{AuthorizationRequest, LEEWAY, LoginOptions, Prompt, ProviderClient, ResponseMode, json};

entries! {
    pub(crate) name: &'static str =>
    /// The effect of a [`Finding`] on users.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "snake_case")]
    #[non_exhaustive]
    pub enum Severity {
        /// It is as it must be.
        Ok = "ok",
        /// Users can sign in, and something is not as it is configured, or is lost at a restart.
        Warning = "warning",
        /// Users cannot sign in, or do not stay signed in.
        Error = "error",
        /// It cannot be found out from here.
        Unknown = "unknown",
    }
}

/// One result of [`OidcLayer::check`](crate::OidcLayer::check).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The effect on users.
    pub severity: Severity,
    /// The part that was checked, such as `default: client authentication`, where `default` is the provider's name.
    pub subject: String,
    /// What was found, what was expected, and what solves it. No secret is in it.
    pub message: String,
}

impl Severity {
    pub(crate) fn says(self, subject: &str, message: impl Into<String>) -> Finding {
        Finding { severity: self, subject: subject.to_owned(), message: message.into() }
    }
}

impl Provider {
    /// Checks the provider, and the registration there, for the `scopes` that this application asks for, those `of_apis`
    /// among them. It is asked as the first login would, and nothing of its answers is kept.
    pub(crate) async fn check(&self, scopes: &[String], of_apis: &[String]) -> Result<Vec<Finding>, ProviderError> {
        let document = self.document().await.0?;
        let known = self.discovered(&document).map_err(ProviderError::Unavailable)?;
        if let Some(jwks_uri) = &known.jwks_uri {
            self.fetch_keys(jwks_uri).await?;
        }
        let issuer = &self.relying_party.issuer.url;
        let mut found = vec![Severity::Ok.says("metadata and keys", format!("{issuer} names itself so"))];
        let listed = scopes.iter().filter(|scope| !of_apis.contains(scope)).map(String::as_str).collect();
        found.extend(self.check_support(&document, &known, listed));
        found.extend(self.check_client(&known).await);
        found.push(self.check_redirect_uri(&known, scopes).await);
        Ok(found)
    }

    /// Whether the metadata have what the configuration needs.
    fn check_support(&self, document: &[u8], known: &ProviderClient, scopes: Vec<&str>) -> Vec<Finding> {
        let registered = &self.relying_party;
        let (mut members, _) = json::members(document).unwrap_or_default();
        members.extend(registered.metadata.clone());
        // What it means where a member is missing, its name, and what must be in it.
        let mut needs = vec![
            (Severity::Unknown, "token_endpoint_auth_methods_supported", vec![known.auth.name()]),
            (Severity::Unknown, "response_modes_supported", vec![registered.response_mode.name()]),
            (Severity::Unknown, "code_challenge_methods_supported", vec!["S256"]),
            (Severity::Unknown, "scopes_supported", scopes),
        ];
        if registered.logout_at_provider && registered.logout_url.is_none() {
            needs.push((Severity::Warning, "end_session_endpoint", Vec::new()));
        }
        if self.pushes(known).1 {
            needs.push((Severity::Error, "pushed_authorization_request_endpoint", Vec::new()));
        }
        let check = |(missing, member, needed): (Severity, &str, Vec<&str>)| {
            let found = members.get(member);
            let lacks = |list: &Vec<Value>| needed.iter().any(|one| !list.contains(&(*one).into()));
            let severity = match found {
                None => missing,
                Some(Value::Array(list)) if lacks(list) => Severity::Warning,
                Some(_) => Severity::Ok,
            };
            let expected = if needed.is_empty() { "a URL".to_owned() } else { format!("{needed:?} in it") };
            let remedy = if severity == Severity::Ok { "" } else { ": configure what the provider has" };
            severity.says(member, format!("is {}, expected {expected}{remedy}", json::shown(found)))
        };
        needs.into_iter().map(check).collect()
    }

    /// A made-up code: a provider that refuses the code alone knows the client. The answer says what time it is there.
    async fn check_client(&self, known: &ProviderClient) -> Vec<Finding> {
        let subject = "client authentication";
        let made_up = known.exchange("check", &self.random.token(), None, &[]);
        let (url, answer) = match self.post(known, made_up).await {
            Ok(answer) => answer,
            Err(error) => return vec![Severity::Error.says(subject, cause(&error))],
        };
        let (severity, found) = match self.tokens(url, &answer) {
            Err(ProviderError::Refused(refusal)) => match (refusal.code.as_deref(), refusal.status) {
                (Some("invalid_grant"), _) => (Severity::Ok, refusal.to_string()),
                (Some("invalid_client" | "unauthorized_client"), _) | (_, 401) => {
                    (Severity::Error, refusal.to_string())
                }
                _ => (Severity::Unknown, refusal.to_string()),
            },
            Err(error) => (Severity::Unknown, cause(&error)),
            Ok(_) => (Severity::Error, "it answers with tokens".to_owned()),
        };
        let client = severity.says(subject, format!("{found}; a made-up code was sent, expected invalid_grant"));
        vec![client, self.check_clock(answer.headers().get(DATE))]
    }

    fn check_clock(&self, date: Option<&HeaderValue>) -> Finding {
        let Some(date) = date.and_then(|date| http_date(date.to_str().ok()?)) else {
            return Severity::Unknown.says("clock", "the provider's answers have no Date");
        };
        let (now, leeway) = (self.clock.now().as_secs(), LEEWAY.as_secs());
        let (apart, side) = (now.abs_diff(date), if now < date { "behind" } else { "ahead of" });
        let severity = if apart > leeway { Severity::Error } else { Severity::Ok };
        let remedy = format!("expected at most {leeway} s: set the clock that is wrong");
        severity.says("clock", format!("{apart} s {side} the provider's, {remedy}"))
    }

    async fn check_redirect_uri(&self, known: &ProviderClient, scopes: &[String]) -> Finding {
        let redirect_uri = &self.relying_party.redirect_uri;
        let (severity, found) = match self.authorize_nobody(known, scopes).await {
            Ok(answer) => {
                let location = answer.headers().get(LOCATION).map_or(&[][..], HeaderValue::as_bytes);
                let severity = match answer.status() {
                    _ if location.starts_with(redirect_uri.as_bytes()) => Severity::Ok,
                    StatusCode::BAD_REQUEST => Severity::Error,
                    _ => Severity::Unknown,
                };
                (severity, format!("the provider answers {}", answer.status()))
            }
            Err(ProviderError::Refused(refusal)) => (Severity::Error, refusal.to_string()),
            Err(error) => (Severity::Unknown, cause(&error)),
        };
        severity.says("redirect URI", format!("{found}, expected {redirect_uri} to be registered, exactly so"))
    }

    /// An authorization request that no page may answer: a provider that knows the redirect URI answers there.
    async fn authorize_nobody(&self, at: &ProviderClient, scopes: &[String]) -> Result<Response<Bytes>, ProviderError> {
        let registered = &self.relying_party;
        let [state, nonce, code_verifier] = [(); 3].map(|()| self.random.token());
        let asked = AuthorizationRequest {
            scopes,
            resources: &[],
            response_mode: ResponseMode::Query,
            state: &state,
            nonce: &nonce,
            code_verifier: &code_verifier,
            hosted_domain: registered.hosted_domain.as_deref(),
            options: &LoginOptions::new().prompt(Prompt::None),
            additional: &registered.authorization_parameters,
        };
        let mut parameters = asked.parameters(at);
        if self.pushes(at).1 {
            let request_uri = self.push(at, &parameters).await?;
            parameters.retain(|(name, _)| name == "client_id");
            parameters.push(("request_uri".to_owned(), request_uri));
        }
        let named = parameters.iter().map(|(name, value)| (name.as_str(), value));
        let url = with_parameters(&at.authorization_endpoint, named);
        self.send(request(url.as_str(), "text/html, */*;q=0.1")?).await
    }
}
