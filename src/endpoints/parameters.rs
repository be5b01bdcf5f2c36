//! The query of an endpoint, parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::{EndpointContext, OrRefusal};
use crate::config::Destination;
use crate::error::DestinationError;
use crate::page;
use crate::protocol::{LoginOptions, Prompt, authorization, token};
use crate::provider::{Provider, Providers};
use crate::state::Runtime;

/// The parameters of an address of ours, each at most once.
pub(crate) struct EndpointQuery(pub(super) BTreeMap<String, String>);

impl EndpointQuery {
    pub(crate) fn parse(query: &str) -> OrRefusal<Self> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if parameters.len() == MOST_PARAMETERS {
                return Err(page::bad_request("The address has too many parameters."));
            }
            if parameters.insert(name, value).is_some() {
                return Err(page::bad_request("A parameter of the address occurs twice."));
            }
        }
        Ok(Self(parameters))
    }

    /// The parameters of a request, and where it goes on to.
    pub(crate) fn with_destination(context: &EndpointContext) -> OrRefusal<(Self, Destination)> {
        let given = Self::parse(context.query())?;
        let destination = given.destination(&context.runtime, "return_to")?;
        Ok((given, destination))
    }

    /// The destination in the parameter of this name.
    pub(crate) fn destination(&self, runtime: &Runtime, name: &str) -> OrRefusal<Destination> {
        runtime.settings.destination(self.get(name).unwrap_or_default()).map_err(|error| match error {
            DestinationError::TooLong { .. } => page::bad_request("The return address is too long."),
            _ => page::bad_request("The return address does not belong to this application."),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The same, where it is not too long to travel on.
    pub(crate) fn bounded(&self, name: &str) -> OrRefusal<Option<&str>> {
        match self.get(name) {
            Some(value) if value.len() > LONGEST_OPTION => Err(page::bad_request(&format!("{name} is too long."))),
            value => Ok(value),
        }
    }

    pub(crate) fn options(&self) -> OrRefusal<LoginOptions> {
        let refused = |text| move || page::bad_request(text);
        let known = |prompt| Prompt::from_name(prompt).ok_or_else(refused("The value of prompt is unknown."));
        let seconds = |max_age: &str| {
            let digits = Some(max_age).filter(|max_age| max_age.bytes().all(|byte| byte.is_ascii_digit()));
            let seconds = digits.and_then(|digits| digits.parse().ok()).map(Duration::from_secs);
            seconds.ok_or_else(refused("max_age must be a number of seconds."))
        };
        Ok(LoginOptions {
            prompt: self.get("prompt").map(known).transpose()?,
            max_age: self.get("max_age").map(seconds).transpose()?,
            login_hint: self.bounded("login_hint")?.map(str::to_owned),
            acr_values: self.bounded("acr_values")?.map(token::scopes).unwrap_or_default(),
            parameters: BTreeMap::new(),
        })
    }

    /// The options of a login at this provider or, where none is named, at any: with the parameters that are allowed there.
    pub(crate) fn of_login(&self, providers: &Providers, at: Option<&Provider>) -> OrRefusal<LoginOptions> {
        let mut options = LoginOptions { parameters: self.0.clone(), ..self.options()? };
        options.parameters.retain(|name, _| authorization::is_for_provider(name) || providers.allow(None, name));
        let checked = providers.check(at, &options);
        checked.map(|()| options).map_err(|refused| page::bad_request(&format!("You cannot sign in here: {refused}.")))
    }
}

/// So many parameters are looked at.
const MOST_PARAMETERS: usize = 64;

/// The longest `login_hint` and `acr_values`, in bytes: they travel on, and one of them in a cookie.
const LONGEST_OPTION: usize = 512;
