//! Variables of the environment: trimmed, empty ones as if they were not there, secrets also from files.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::provider::Network;
use crate::secret::Secret;

/// Where variables come from, and what is wrong with those that were read.
pub(crate) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) problems: Vec<String>,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, problems: Vec::new() }
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.value(name).map(|list| listed(&list)).unwrap_or_default()
    }

    pub(crate) fn scopes(&self, name: &str) -> Option<Vec<String>> {
        self.value(name).map(|scopes| scopes.split_whitespace().map(str::to_owned).collect())
    }

    /// Sets one of several values, where the variable is there; `values` says which there are.
    pub(crate) fn set<T: DeserializeOwned>(&mut self, slot: &mut T, name: &str, values: &str) {
        let Some(given) = self.value(name) else { return };
        let text = |_| Value::String(given.replace('-', "_"));
        let value = serde_json::from_str(&given).unwrap_or_else(text);
        match serde_json::from_value(value) {
            Ok(value) => *slot = value,
            Err(_) => self.note(format!("{name} is {given:?}: use {values}")),
        }
    }

    /// The value of a variable, or the contents of the file that `{name}_FILE` names.
    pub(crate) fn secret(&mut self, name: &str) -> Option<String> {
        match (self.value(name), self.value(&format!("{name}_FILE"))) {
            (Some(_), Some(_)) => self.refuse(format!("{name} and {name}_FILE are both set: remove one")),
            (value, None) => value,
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(contents) => Some(contents.trim().to_owned()),
                Err(error) => self.refuse(format!("{name}_FILE ({path}) cannot be read: {error}")),
            },
        }
    }

    /// Notes a problem.
    pub(crate) fn note(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Notes a problem; there is no value then.
    pub(crate) fn refuse<T>(&mut self, problem: impl Into<String>) -> Option<T> {
        self.note(problem);
        None
    }
}

/// A variable of this process.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Network {
    /// From the variables that other programs read, too. `HTTP_PROXY` is not read: plain http goes through no proxy, and a
    /// client of a CGI program could set it by a header `Proxy`.
    pub(crate) fn read(environment: &Environment<'_>) -> Self {
        let either = |name: &str| environment.value(name).or_else(|| environment.value(&name.to_lowercase()));
        Self {
            bundle: environment.value("SSL_CERT_FILE").map(PathBuf::from),
            https_proxy: either("HTTPS_PROXY").map(Secret::from),
            no_proxy: either("NO_PROXY").unwrap_or_default(),
        }
    }
}

/// Comma-separated values without the blanks around them.
pub(crate) fn listed<T: From<String>>(list: &str) -> Vec<T> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| T::from(item.to_owned())).collect()
}
