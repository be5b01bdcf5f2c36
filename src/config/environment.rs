//! Variables of the environment: trimmed, empty ones as if they were not there, secrets also from files.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where variables come from.
pub(crate) struct Environment<F>(F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    pub(crate) fn new(variable: F) -> Self {
        Self(variable)
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Comma-separated values without the blanks around them.
    pub(crate) fn list<T: From<String>>(&self, name: &str) -> Vec<T> {
        listed(&self.value(name).unwrap_or_default())
    }

    /// Sets one of several values, where the variable is there; `values` says which there are.
    pub(crate) fn set<T: DeserializeOwned>(
        &self,
        slot: &mut T,
        name: &str,
        values: &str,
        problems: &mut Vec<String>,
    ) {
        let Some(given) = self.value(name) else { return };
        let value = given.parse().map_or_else(|_| Value::String(given.replace('-', "_")), Value::Bool);
        match serde_json::from_value(value) {
            Ok(value) => *slot = value,
            Err(_) => problems.push(format!("{name} is {given:?}: use {values}")),
        }
    }

    /// The value of a variable, or the contents of the file that `{name}_FILE` names.
    pub(crate) fn secret(&self, name: &str, problems: &mut Vec<String>) -> Option<String> {
        match (self.value(name), self.value(&format!("{name}_FILE"))) {
            (Some(_), Some(_)) => {
                problems.push(format!("{name} and {name}_FILE are both set: remove one"));
                None
            }
            (value, None) => value,
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(contents) => Some(contents.trim().to_owned()),
                Err(error) => {
                    problems.push(format!("{name}_FILE ({path}) cannot be read: {error}"));
                    None
                }
            },
        }
    }
}

/// Comma-separated values without the blanks around them.
pub(crate) fn listed<T: From<String>>(list: &str) -> Vec<T> {
    let values = list.split(',').map(str::trim).filter(|value| !value.is_empty());
    values.map(|value| T::from(value.to_owned())).collect()
}
