//! The configuration from environment variables.

use std::path::PathBuf;

use super::Config;
use super::development::local_url;
use super::environment::Environment;
use super::mode::Mode;
use super::provider::ProviderConfig;
use super::shared_account::SharedAccount;

use crate::error::ConfigError;
use crate::protocol::authorization::ResponseMode;
use crate::secret::Secret;

impl SharedAccount {
    /// Reads `ACCOUNT` (`client-credentials`, the default, `refresh-token` or `operator`) and `ACCOUNT_REFRESH_TOKEN`,
    /// or the file that `ACCOUNT_REFRESH_TOKEN_FILE` names. A refresh token together with another `ACCOUNT` is an
    /// error.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable that cannot be read.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_env_with(|name| std::env::var(name).ok())
    }

    /// Like [`SharedAccount::from_env`], with variables from a function.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable that cannot be read.
    pub fn from_env_with(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let account = Self::read(&Environment::new(variable), &mut problems);
        ConfigError::check(problems)?;
        Ok(account)
    }

    fn read<F: Fn(&str) -> Option<String>>(environment: &Environment<F>, problems: &mut Vec<String>) -> Self {
        let token = environment.secret("ACCOUNT_REFRESH_TOKEN", problems);
        match (environment.value("ACCOUNT").as_deref(), token) {
            (Some("refresh-token"), Some(token)) => return Self::refresh_token(token),
            (None | Some("client-credentials"), None) => return Self::client_credentials(),
            (Some("operator"), None) => {}
            (Some("refresh-token"), None) => {
                problems.push("ACCOUNT is refresh-token: set ACCOUNT_REFRESH_TOKEN too".to_owned());
            }
            (None | Some("client-credentials" | "operator"), Some(_)) => problems
                .push("ACCOUNT_REFRESH_TOKEN is set: set ACCOUNT to refresh-token, or remove it".to_owned()),
            (Some(other), _) => problems
                .push(format!("ACCOUNT is {other:?}: use client-credentials, refresh-token or operator")),
        }
        Self::connected_by_admin()
    }
}

impl Config {
    /// Reads the configuration from environment variables:
    ///
    /// | variable | meaning | default |
    /// |---|---|---|
    /// | `OIDC_ISSUER` | the provider's issuer, or `development` ([`Config::development`]) | required |
    /// | `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET` | the registration at the provider | none |
    /// | `OIDC_SCOPES` | scopes of a login, separated by spaces | `openid email profile` |
    /// | `OIDC_RESPONSE_MODE` | `query` or `form_post` | `query` |
    /// | `OIDC_ID_TOKEN_SIGNED_RESPONSE_ALG` | the one algorithm of ID and logout tokens | those of the metadata |
    /// | `OIDC_DISPLAY_NAME` | the provider's name on the provider selection page | the issuer's host |
    /// | `OIDC_CA_FILE` | additional root certificates, PEM | none |
    /// | `OIDC_PROVIDERS` | the names of more providers, separated by commas | none |
    /// | `PUBLIC_URL` | the URL that browsers use | `http://localhost:PORT`, with the port of `BIND` or 3000 |
    /// | `BIND` | the address on which the application listens ([`Config::bind`]) | none |
    /// | `DEVELOPMENT_HOSTS` | host names besides loopback that are answered, separated by commas ([`Config::development_hosts`]) | none |
    /// | `MODE` | `per-user`, `stateless` or `single-user` (with the variables of [`SharedAccount::from_env`]) | `per-user` |
    /// | `SESSION_SECRET` | one or several session secrets, separated by commas | generated at start |
    /// | `ADMINS` | verified e-mail addresses of admins, separated by commas | none |
    ///
    /// `OIDC_CLIENT_SECRET_FILE` and `SESSION_SECRET_FILE` name files with these secrets. A secret together with its
    /// `…_FILE` is an error.
    ///
    /// For each name in `OIDC_PROVIDERS`, such as `work`, there are `OIDC_WORK_ISSUER`, `OIDC_WORK_CLIENT_ID`,
    /// `OIDC_WORK_CLIENT_SECRET` (or `…_FILE`), `OIDC_WORK_SCOPES` and `OIDC_WORK_RESPONSE_MODE` (by default
    /// `OIDC_SCOPES` and `OIDC_RESPONSE_MODE`), `OIDC_WORK_DISPLAY_NAME`,
    /// `OIDC_WORK_ID_TOKEN_SIGNED_RESPONSE_ALG`, and `OIDC_WORK_LOGIN` (`false`: for
    /// connections only). In the names of variables `-` becomes `_`: the provider `at-home` has `OIDC_AT_HOME_ISSUER`.
    /// Without `OIDC_ISSUER` the first of the list is the first provider; otherwise the provider of `OIDC_ISSUER` is
    /// the first, and is called `default`. With several providers for logins, each entry of `ADMINS` names its
    /// provider: `work:root@example.org`.
    ///
    /// Other fields are set on the result.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable that is missing or cannot be read.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_env_with(|name| std::env::var(name).ok())
    }

    /// Like [`Config::from_env`], with variables from a function.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable that is missing or cannot be read.
    pub fn from_env_with(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        let environment = Environment::new(variable);
        config.provider.client_secret =
            environment.secret("OIDC_CLIENT_SECRET", &mut problems).map(Secret::from);
        config.session_secrets =
            environment.secret("SESSION_SECRET", &mut problems).map(|list| listed(&list)).unwrap_or_default();
        config.provider.issuer = environment.value("OIDC_ISSUER").unwrap_or_default();
        // What is no address of a socket is the application's own affair, unless the development provider needs it.
        config.bind = environment.value("BIND").and_then(|bind| bind.parse().ok());
        config.development_hosts =
            environment.value("DEVELOPMENT_HOSTS").map(|list| listed(&list)).unwrap_or_default();
        config.ca_file = environment.value("OIDC_CA_FILE").map(PathBuf::from);
        config.admins = environment.value("ADMINS").map(|list| listed(&list)).unwrap_or_default();
        config.public_url = environment.value("PUBLIC_URL").unwrap_or_else(|| local_url(config.bind));
        config.provider.client_id = environment.value("OIDC_CLIENT_ID").unwrap_or_default();
        if let Some(scopes) = environment.value("OIDC_SCOPES") {
            config.provider.scopes = scopes.split_whitespace().map(str::to_owned).collect();
        }
        if let Some(mode) = response_mode(&environment, "OIDC_RESPONSE_MODE", &mut problems) {
            config.provider.response_mode = mode;
        }
        config.provider.display_name = environment.value("OIDC_DISPLAY_NAME");
        config.provider.id_token_signed_response_alg = environment.value("OIDC_ID_TOKEN_SIGNED_RESPONSE_ALG");
        config.mode = mode(&environment, &mut problems);
        ProviderConfig::add_from(&environment, &mut config, &mut problems);
        if config.provider.issuer.is_empty() {
            problems.push(
                "no issuer is set: set OIDC_ISSUER to the provider's issuer URL, with OIDC_CLIENT_ID and OIDC_CLIENT_SECRET; \
                 or, to try the application on this machine alone, OIDC_ISSUER=development (feature `dev-provider`)"
                    .to_owned(),
            );
        }
        ConfigError::check(problems)?;
        Ok(config)
    }
}

/// `MODE`, and what belongs to one mode alone.
fn mode<F: Fn(&str) -> Option<String>>(environment: &Environment<F>, problems: &mut Vec<String>) -> Mode {
    let mode = match environment.value("MODE").as_deref() {
        Some("single-user") => return Mode::SingleUser(SharedAccount::read(environment, problems)),
        None | Some("per-user") => Mode::PerUser,
        Some("stateless") => Mode::Stateless,
        Some(other) => {
            problems.push(format!("MODE is {other:?}: use per-user, single-user or stateless"));
            Mode::PerUser
        }
    };
    for name in ["ACCOUNT", "ACCOUNT_REFRESH_TOKEN", "ACCOUNT_REFRESH_TOKEN_FILE"] {
        if environment.value(name).is_some() {
            problems.push(format!("{name} is set: set MODE to single-user, or remove it"));
        }
    }
    mode
}

pub(crate) fn response_mode<F: Fn(&str) -> Option<String>>(
    environment: &Environment<F>,
    name: &str,
    problems: &mut Vec<String>,
) -> Option<ResponseMode> {
    match environment.value(name)?.as_str() {
        "query" => Some(ResponseMode::Query),
        "form_post" => Some(ResponseMode::FormPost),
        other => {
            problems.push(format!("{name} is {other:?}: use query or form_post"));
            None
        }
    }
}

/// Comma-separated values without the blanks around them.
pub(crate) fn listed<T: From<String>>(list: &str) -> Vec<T> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| T::from(item.to_owned()))
        .collect()
}

impl ProviderConfig {
    /// Those that `OIDC_PROVIDERS` names, the first of which is the first of all where no other is configured.
    pub(crate) fn add_from<F: Fn(&str) -> Option<String>>(
        environment: &Environment<F>,
        config: &mut Config,
        problems: &mut Vec<String>,
    ) {
        let names: Vec<String> =
            environment.value("OIDC_PROVIDERS").map(|list| listed(&list)).unwrap_or_default();
        let read: Vec<_> = names.iter().map(|name| Self::read(environment, name, config, problems)).collect();
        let mut providers = read.into_iter();
        if config.provider.issuer.is_empty()
            && let Some(first) = providers.next()
        {
            if !config.provider.client_id.is_empty() || config.provider.client_secret.is_some() {
                problems.push(
                    "OIDC_CLIENT_ID or OIDC_CLIENT_SECRET is set without OIDC_ISSUER: set all or none"
                        .to_owned(),
                );
            }
            if !first.login {
                problems.push(format!(
                    "OIDC_PROVIDERS begins with {:?}, which has no logins: begin with a provider for logins",
                    first.name
                ));
            }
            config.provider = first;
        }
        config.more_providers.extend(providers);
    }

    fn read<F: Fn(&str) -> Option<String>>(
        environment: &Environment<F>,
        name: &str,
        config: &Config,
        problems: &mut Vec<String>,
    ) -> Self {
        let variable = |end: &str| format!("OIDC_{}_{end}", name.to_ascii_uppercase().replace('-', "_"));
        let mut required = |end: &str| {
            environment.value(&variable(end)).unwrap_or_else(|| {
                problems.push(format!("{} is missing: OIDC_PROVIDERS names {name}", variable(end)));
                String::new()
            })
        };
        let (issuer, client_id) = (required("ISSUER"), required("CLIENT_ID"));
        let client_secret = environment.secret(&variable("CLIENT_SECRET"), problems).map(Secret::from);
        let mode = response_mode(environment, &variable("RESPONSE_MODE"), problems);
        let scopes = environment.value(&variable("SCOPES"));
        let login = match environment.value(&variable("LOGIN")).as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(other) => {
                problems.push(format!("{} is {other:?}: use true or false", variable("LOGIN")));
                true
            }
        };
        Self {
            client_secret,
            login,
            display_name: environment.value(&variable("DISPLAY_NAME")),
            id_token_signed_response_alg: environment.value(&variable("ID_TOKEN_SIGNED_RESPONSE_ALG")),
            scopes: scopes.map_or_else(
                || config.provider.scopes.clone(),
                |scopes| scopes.split_whitespace().map(str::to_owned).collect(),
            ),
            response_mode: mode.unwrap_or(config.provider.response_mode),
            ..Self::new(issuer, client_id).name(name)
        }
    }
}
