//! Providers as tables: everything of a [`ProviderConfig`] but the registration.

use std::collections::BTreeMap;

use super::environment::Environment;
use crate::provider::ProviderConfig;

/// A provider is an entry here, and a fixture in the tests.
const TABLE: &str = include_str!("presets.json");

/// Of the metadata, and what says who signed in. Those that come first belong together.
const ENDPOINTS: [&str; 7] = ["authorization", "token", "identity", "userinfo", "revocation", "end_session", "jwks"];

impl ProviderConfig {
    /// The providers that are known by name, such as `github`, without a client id and secret.
    ///
    /// Each is plain data. An application reads its own with serde, or sets the fields of one of these. Where the issuer is
    /// the tenant's own, as at Auth0, Amazon Cognito, Keycloak and Zitadel, it is empty, and must be set.
    ///
    /// ```
    /// use tower_oidc::ProviderConfig;
    ///
    /// let mut github = ProviderConfig::presets().remove("github").unwrap();
    /// github.client_id = "Iv1.0123456789abcdef".to_owned();
    /// let github = github.client_secret("secret");
    /// ```
    pub fn presets() -> BTreeMap<String, Self> {
        // A test reads it.
        serde_json::from_str(TABLE).unwrap_or_default()
    }

    /// The preset that a variable names, or that a file holds.
    pub(super) fn preset(environment: &mut Environment<'_>, variable: &str) -> Option<Self> {
        let given = environment.secret(variable)?;
        if given.starts_with('{') {
            let read = serde_json::from_str(&given);
            return read.map_or_else(|error| environment.refuse(format!("{variable}_FILE: {error}")), Some);
        }
        let mut presets = Self::presets();
        let names = presets.keys().cloned().collect::<Vec<_>>().join(", ");
        presets.remove(&given).or_else(|| {
            environment.refuse(format!(
                "{variable} is {given:?}: use one of {names}, or name a JSON file with {variable}_FILE"
            ))
        })
    }

    /// Sets the endpoints that variables name.
    pub(super) fn set_endpoints(&mut self, environment: &mut Environment<'_>, prefix: &str) {
        let value = |name: &str| environment.value(&format!("{prefix}{}", name.to_ascii_uppercase()));
        let given = ENDPOINTS.map(|name| value(&format!("{name}_endpoint")));
        let belonging = given[..3].iter().flatten().count();
        let over_preset = self.oauth2.is_some() && belonging > 0;
        if over_preset {
            // What one provider issues goes to no endpoint of another, and its people are others.
            self.metadata.retain(|name, _| !name.ends_with("_endpoint"));
            self.issuer = value("issuer").unwrap_or_default();
        }
        let has_scopes = value("scopes").is_some();
        for (name, url) in ENDPOINTS.iter().zip(given).filter_map(|(name, given)| Some((*name, given?))) {
            let member = if name == "jwks" { "jwks_uri".to_owned() } else { format!("{name}_endpoint") };
            if name != "identity" {
                self.metadata.insert(member, url.into());
                continue;
            }
            if self.oauth2.is_none() && !has_scopes {
                self.scopes.clear();
            }
            self.oauth2.get_or_insert_default().identity_endpoint = url;
        }
        if over_preset && belonging < 3 {
            environment.note(format!(
                "{prefix}AUTHORIZATION_ENDPOINT, {prefix}TOKEN_ENDPOINT and {prefix}IDENTITY_ENDPOINT belong together: set all \
                 three, or leave them to the preset"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let read: BTreeMap<String, ProviderConfig> = serde_json::from_str(TABLE).unwrap();
        assert!(read.contains_key("github") && read.len() == ProviderConfig::presets().len());
    }
}
