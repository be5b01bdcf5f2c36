//! A provider, as the application configures it.

use serde::Deserialize;

use super::connection::Connection;
use super::resource::Resource;
use super::setters::setters;
use crate::protocol::authorization::ResponseMode;
use crate::protocol::token::ClientAuthMethod;
use crate::protocol::user_info::FetchUserInfo;
use crate::secret::Secret;

/// How this application is registered at a provider.
///
/// ```
/// # use tower_oidc::{Config, ProviderConfig};
/// let work = ProviderConfig::new("https://login.work.test", "app").client_secret("secret").name("work");
/// let home = ProviderConfig::new("https://home.test", "app").client_secret("secret").name("home");
/// let config = Config::new("https://app.test", work).add_provider(home);
/// ```
///
/// People sign in at each provider that has `login`, and choose one by its name. With several providers, each has a
/// redirect URI of its own, to be registered there: `{public_url}/auth/callback/{name}`, also for the first (RFC 9700
/// section 2.1). The same subject at two providers is two people.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The provider's name in addresses, such as `/auth/login?provider=work`: letters, digits, `-` and `_`. By default
    /// `default`.
    pub name: String,
    /// Display name on the provider selection page. By default the issuer's host.
    pub display_name: Option<String>,
    /// The provider's issuer, exactly as it spells it. No two providers have the same. The word `development` is the
    /// development provider (feature `dev-provider`), on which anybody signs in as anybody, on loopback only: see
    /// [`Config::development`](crate::Config::development).
    pub issuer: String,
    /// The application's client id at the provider.
    pub client_id: String,
    /// The application's client secret; none for a public client, which PKCE alone protects.
    pub client_secret: Option<Secret>,
    /// Client authentication method. Defaults to the provider's metadata, or `client_secret_basic` if it lists none.
    pub client_auth: Option<ClientAuthMethod>,
    /// Whether people sign in here. Otherwise the provider is for connections alone. On.
    pub login: bool,
    /// Scopes of a login, besides those of the resources: `openid email profile`. Many providers issue a refresh token
    /// only for `offline_access`. Connections have their own.
    pub scopes: Vec<String>,
    /// How the provider's response comes back: `query`, which works with every browser's cookie rules.
    pub response_mode: ResponseMode,
    /// Only members of this Google Workspace or similar domain may sign in, or connect an account from here: sent as `hd`,
    /// and required in the ID token.
    pub hosted_domain: Option<String>,
    /// When to call the UserInfo endpoint: where the ID token lacks what the scopes promise, because many providers put
    /// e-mail and name there only (OpenID Connect Core 1.0 section 5.4).
    pub fetch_user_info: FetchUserInfo,
    /// More parameters of the authorization request, such as `access_type=offline` or `claims`.
    pub authorization_parameters: Vec<(String, String)>,
    /// Audiences besides `client_id` that an ID token may name. None: each could pass the tokens on.
    pub trusted_audiences: Vec<String>,
    /// The APIs that the tokens of a login here may be sent to. An API that takes the tokens of several providers stands
    /// at each.
    pub resources: Vec<Resource>,
    /// What people may grant here besides signing in.
    pub connections: Vec<Connection>,
    /// Whether logout revokes the session's refresh token. Only for providers whose revocation ends that token
    /// alone: at others it would sign the person's other browsers out. Off.
    pub revoke_at_logout: bool,
    /// Whether the provider's revocation (RFC 7009) ends the token that it is given, with what was issued for it, and
    /// nothing else. Where this is set, tokens that a login, a connection or a refresh brought and that are refused are
    /// revoked. Off: they are dropped, and an event says so ([`EventCode::TokensDropped`](crate::EventCode::TokensDropped)).
    /// Some providers end everything that the person has granted to this application, in their other browsers too.
    pub revocation_is_per_token: bool,
    /// Whether logout also ends the session at the provider, where it offers that. On.
    pub logout_at_provider: bool,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            display_name: None,
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            client_auth: None,
            login: true,
            scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
            response_mode: ResponseMode::default(),
            hosted_domain: None,
            fetch_user_info: FetchUserInfo::default(),
            authorization_parameters: Vec::new(),
            trusted_audiences: Vec::new(),
            resources: Vec::new(),
            connections: Vec::new(),
            revoke_at_logout: false,
            revocation_is_per_token: false,
            logout_at_provider: true,
        }
    }
}

impl ProviderConfig {
    /// A registration at a provider where people sign in, as a public client until a
    /// [secret](ProviderConfig::client_secret) is set.
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), client_id: client_id.into(), ..Self::default() }
    }

    setters! {
        into name: String;
        some display_name: String;
        some client_secret: Secret;
        some client_auth: ClientAuthMethod;
        list scopes: String;
        value response_mode: ResponseMode;
        some hosted_domain: String;
        value fetch_user_info: FetchUserInfo;
        list trusted_audiences: String;
        value revoke_at_logout: bool;
        value revocation_is_per_token: bool;
        value logout_at_provider: bool;
    }

    /// Nobody signs in here: the provider is for connections alone.
    #[must_use]
    pub fn without_login(mut self) -> Self {
        self.login = false;
        self
    }

    /// Adds a parameter to the authorization request.
    #[must_use]
    pub fn authorization_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.authorization_parameters.push((name.into(), value.into()));
        self
    }

    /// Adds an API that the tokens of a login here may be sent to.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Adds a connection that people may grant here.
    #[must_use]
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connections.push(connection);
        self
    }

    /// Whether the client proves itself with a secret.
    pub(crate) fn is_confidential(&self) -> bool {
        self.client_secret.is_some() && self.client_auth != Some(ClientAuthMethod::None)
    }
}

/// What may name a connection or a provider, in addresses and elsewhere.
pub(crate) fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(known)
}
