//! One more provider, as the author writes it.

use serde::Deserialize;

use super::resource::Resource;
use crate::protocol::authorization::ResponseMode;
use crate::protocol::token::ClientAuthMethod;
use crate::protocol::user_info::FetchUserInfo;
use crate::secret::Secret;

/// How this application is registered at one more provider than that of [`Config`](crate::Config)'s own fields, which mean the same.
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
    pub client_auth: Option<ClientAuthMethod>,
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
    pub fetch_user_info: FetchUserInfo,
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
            fetch_user_info: FetchUserInfo::default(),
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
    pub fn without_login(mut self) -> Self {
        self.login = false;
        self
    }

    /// One more API that the tokens of a login here may go to.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }
}

/// What says who somebody is.
pub(crate) fn default_scopes() -> Vec<String> {
    ["openid", "email", "profile"].map(str::to_owned).to_vec()
}

/// What may name a connection or a provider, in addresses and elsewhere.
pub(crate) fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(known)
}
