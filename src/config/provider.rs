//! One more provider, as the author writes it.

use serde::Deserialize;

use super::environment::Environment;
use super::resource::Resource;
use super::{Config, UserInfo, default_scopes, listed, response_mode};
use crate::protocol::authorization::ResponseMode;
use crate::protocol::token::ClientAuth;
use crate::secret::Secret;

/// How this application is registered at one more provider than that of [`Config`]'s own fields, which mean the same.
///
/// People sign in at each provider that has `login`, and choose one by its name. Each has a redirect URI of its own,
/// to be registered there: `{public_url}/auth/callback/{name}`, also for the first as soon as there is a second
/// (RFC 9700 section 2.1). The same subject at two providers is two people.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// What it is called in addresses, such as `/auth/login?provider=work`: letters, digits, `-` and `_`.
    pub name: String,
    /// What people read on the page where they choose. By default the issuer's host.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The provider's issuer, exactly as it spells it. No two providers have the same.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; none for a public client.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// How the secret is shown.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
    /// Whether people sign in here. Otherwise it is for connections alone. On.
    #[serde(default = "yes")]
    pub login: bool,
    /// Asked for at login: `openid email profile`. Connections ask for their own.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// How the provider's response comes back.
    #[serde(default)]
    pub response_mode: ResponseMode,
    /// Only members of this domain may sign in here, or connect an account from here.
    #[serde(default)]
    pub hosted_domain: Option<String>,
    /// When UserInfo is asked.
    #[serde(default)]
    pub user_info: UserInfo,
    /// More parameters of the authorization request.
    #[serde(default)]
    pub authorization_parameters: Vec<(String, String)>,
    /// Audiences besides ours that an ID token may name.
    #[serde(default)]
    pub trusted_audiences: Vec<String>,
    /// The APIs that the tokens of a login here may go to. An API that takes the tokens of several providers stands at
    /// each.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Whether logout revokes the session's refresh token. Off.
    #[serde(default)]
    pub revoke_at_logout: bool,
    /// See [`Config::revocation_is_per_token`](crate::Config).
    pub revocation_is_per_token: bool,
    /// Whether logout also ends the session at the provider. On.
    #[serde(default = "yes")]
    pub logout_at_provider: bool,
}

fn yes() -> bool {
    true
}

impl ProviderConfig {
    /// A registration at a provider where people sign in.
    pub fn new(
        name: impl Into<String>,
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        Self {
            name: name.into(),
            display_name: None,
            issuer: issuer.into(),
            client_id: client_id.into(),
            client_secret: Some(client_secret.into()),
            client_auth: None,
            login: true,
            scopes: default_scopes(),
            response_mode: ResponseMode::default(),
            hosted_domain: None,
            user_info: UserInfo::default(),
            authorization_parameters: Vec::new(),
            trusted_audiences: Vec::new(),
            resources: Vec::new(),
            revoke_at_logout: false,
            revocation_is_per_token: false,
            logout_at_provider: true,
        }
    }

    /// What people read on the page where they choose.
    #[must_use]
    pub fn display_name(mut self, display_name: impl Into<String>) -> Self {
        self.display_name = Some(display_name.into());
        self
    }

    /// Nobody signs in here: it is for connections alone.
    #[must_use]
    pub fn for_connections(mut self) -> Self {
        self.login = false;
        self
    }

    /// One more API that the tokens of a login here may go to.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

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
        if config.issuer.is_none()
            && let Some(first) = providers.next()
        {
            if !config.client_id.is_empty() || config.client_secret.is_some() {
                problems.push(
                    "OIDC_CLIENT_ID or OIDC_CLIENT_SECRET is set without OIDC_ISSUER: set all or none"
                        .to_owned(),
                );
            }
            if !first.login {
                problems.push(format!(
                    "OIDC_PROVIDERS begins with {:?}, where nobody signs in: begin with one for logins",
                    first.name
                ));
            }
            first.become_first(config);
        }
        config.providers.extend(providers);
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
            scopes: scopes.map_or_else(
                || config.scopes.clone(),
                |scopes| scopes.split_whitespace().map(str::to_owned).collect(),
            ),
            response_mode: mode.unwrap_or(config.response_mode),
            ..Self::new(name, issuer, client_id, "")
        }
    }

    fn become_first(self, config: &mut Config) {
        config.provider_name = self.name;
        config.display_name = self.display_name;
        config.issuer = Some(self.issuer);
        config.client_id = self.client_id;
        config.client_secret = self.client_secret;
        config.scopes = self.scopes;
        config.response_mode = self.response_mode;
    }

    /// The provider that stands in the configuration's own fields.
    pub(crate) fn first(config: &Config) -> Self {
        Self {
            name: config.provider_name.clone(),
            display_name: config.display_name.clone(),
            issuer: config.issuer.clone().unwrap_or_default(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            client_auth: config.client_auth,
            login: true,
            scopes: config.scopes.clone(),
            response_mode: config.response_mode,
            hosted_domain: config.hosted_domain.clone(),
            user_info: config.user_info,
            authorization_parameters: config.authorization_parameters.clone(),
            trusted_audiences: config.trusted_audiences.clone(),
            resources: config.resources.clone(),
            revoke_at_logout: config.revoke_at_logout,
            revocation_is_per_token: config.revocation_is_per_token,
            logout_at_provider: config.logout_at_provider,
        }
    }
}
