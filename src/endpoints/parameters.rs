//! The query of an endpoint, parsed.

use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::config::destination::Destination;
use crate::error::DestinationError;
use crate::protocol::authorization::{LoginOptions, Prompt};
use crate::protocol::token::scopes;
use crate::state::Runtime;

/// The parameters of an address of ours, each at most once.
pub(crate) struct EndpointQuery(Vec<(String, String)>);

impl EndpointQuery {
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if parameters.len() == MOST_PARAMETERS {
                return Err("The address has too many parameters.".to_owned());
            }
            if parameters.iter().any(|(seen, _)| *seen == name) {
                return Err("A parameter of the address occurs twice.".to_owned());
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
            DestinationError::TooLong { .. } => "The return address is too long.".to_owned(),
            _ => "The return address does not belong to this application.".to_owned(),
        })
    }

    pub(crate) fn options(&self) -> Result<LoginOptions, String> {
        let mut options = LoginOptions::default();
        if let Some(prompt) = self.get("prompt") {
            options.prompt = Some(Prompt::from_name(prompt).ok_or("The value of prompt is unknown.")?);
        }
        if let Some(max_age) = self.get("max_age") {
            let digits = Some(max_age).filter(|max_age| max_age.bytes().all(|byte| byte.is_ascii_digit()));
            let seconds = digits.and_then(|digits| digits.parse().ok());
            let seconds = seconds.ok_or("max_age must be a number of seconds.")?;
            options.max_age = Some(Duration::from_secs(seconds));
        }
        options.login_hint = self.bounded("login_hint")?.map(str::to_owned);
        options.acr_values = self.bounded("acr_values")?.map(scopes).unwrap_or_default();
        Ok(options)
    }
}

/// Whether a body has the format `application/x-www-form-urlencoded`.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let form = b"application/x-www-form-urlencoded";
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..form.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(form))
}

/// So many parameters are looked at: each is compared with those before it.
const MOST_PARAMETERS: usize = 64;

/// The longest `login_hint` and `acr_values`, in bytes: they travel on, and one of them in a cookie.
const LONGEST_OPTION: usize = 512;
