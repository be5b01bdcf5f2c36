//! Variables of the environment: trimmed, empty ones as if they were not there, secrets also from files.

/// Where variables come from.
pub(crate) struct Environment<F>(F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    pub(crate) fn new(variable: F) -> Self {
        Self(variable)
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
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
