//! A provider, as the application configures it.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use smart_default::SmartDefault;
use url::Url;

use super::connection::{Connection, Resource};
use super::private_key::PrivateKey;
use crate::html::encoded;
use crate::protocol::setters::setters;
use crate::protocol::{
    ApiNaming, ClaimSource, ClientAuthMethod, FetchUserInfo, OAuth2, PushedAuthorizationRequests, ResponseMode,
    RoleClaim,
};
use crate::secret::Secret;

/// The registration of this application at a provider.
///
/// ```
/// # use tower_oidc::{Config, ProviderConfig};
/// let work = ProviderConfig::new("https://login.work.test", "app").client_secret("secret").name("work");
/// let home = ProviderConfig::new("https://home.test", "app").client_secret("secret").name("home");
/// let config = Config::new("https://app.test", work).add_provider(home);
/// ```
///
/// Users sign in at each provider with `login`, and choose one by its name. With several providers, each has its own
/// redirect URI, which must be registered there: `{public_url}/auth/callback/{name}`, also for the first (RFC 9700
/// section 2.1). The same subject at two providers is two users.
#[derive(Clone, Debug, Deserialize, SmartDefault)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The provider's name in addresses, such as `/auth/login?provider=work`: letters, digits, `-` and `_`. By default
    /// `default`.
    #[default("default")]
    pub name: String,
    /// Display name on the provider selection page. By default the issuer's host.
    pub display_name: Option<String>,
    /// The provider's issuer, exactly as its metadata spell it. No two providers have the same. `development` is the
    /// development provider (feature `dev-provider`), for this machine only: see
    /// [`Config::development`](crate::Config::development).
    pub issuer: String,
    /// The provider's URL for this application, where that is not the issuer's, such as
    /// `http://keycloak:8080/realms/app` in a network of containers: the endpoints that the application calls itself
    /// (metadata, keys, token, UserInfo, revocation, pushed requests) are called below this URL if they are below the
    /// issuer. Browsers still go to the metadata's authorization and end-session endpoints. https; or http to
    /// loopback; or, where the public URL is http on loopback, http to a host name without dots, with the event
    /// [`EventCode::ProviderNotEncrypted`](crate::EventCode::ProviderNotEncrypted).
    pub internal_url: Option<String>,
    /// The tenants whose users may sign in, where one registration serves several, as at Microsoft Entra ID: the `tid` of
    /// each. [`ProviderConfig::issuer`] is then the URL for many of them, such as
    /// `https://login.microsoftonline.com/organizations/v2.0`. A user's issuer is that of their tenant: the same subject at
    /// two tenants is two users. By default none: one issuer, exactly.
    pub tenants: Vec<String>,
    /// Accepts users of every tenant, in place of [`ProviderConfig::tenants`]. Off by default: anyone can create a tenant,
    /// and its administrators decide what it says of its users, their e-mail addresses included.
    pub any_tenant: bool,
    /// Members of the provider's metadata (RFC 8414 section 2) that count in place of those that it publishes, such as
    /// `token_endpoint`. With authorization endpoint, token endpoint and `jwks_uri`, nothing is fetched.
    pub metadata: Map<String, Value>,
    /// How a provider without ID tokens says who signed in. Its issuer is then [made up](ProviderConfig::oauth2).
    pub oauth2: Option<OAuth2>,
    /// The client id at the provider.
    pub client_id: String,
    /// The client secret; `None` for a public client, which only PKCE protects (RFC 7636).
    pub client_secret: Option<Secret>,
    /// The private keys with which the application proves itself in place of a secret (`private_key_jwt`, OpenID Connect
    /// Core 1.0 section 9). The first signs. The public keys of all are at `/auth/jwks.json`, where the provider reads them.
    pub private_keys: Vec<PrivateKey>,
    /// The name of the key that signs, where the provider gave it one, as Apple does. By default its `kid`, or its thumbprint.
    pub private_key_id: Option<String>,
    /// Who makes the assertions, where that is not the client: at Apple the team.
    pub client_assertion_issuer: Option<String>,
    /// The algorithm of the assertions: `RS256` (the default of an RSA key) or `PS256`. A key of another kind has one.
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// The path of a file into which the platform writes assertions about this application, in place of a secret or a
    /// private key: Kubernetes with workload identity, for example. It is read for each request.
    pub client_assertion_file: Option<PathBuf>,
    /// The audience of the assertions that the application makes. By default the issuer. Some providers want the URL of
    /// their token endpoint.
    pub client_assertion_audience: Option<String>,
    /// Client authentication method. By default the first that is configured and that the provider's metadata list:
    /// `private_key_jwt` with a private key or an assertion file; `client_secret_basic`, `client_secret_post` or
    /// `client_secret_jwt` with a secret. Where they list none it is the first of these.
    pub client_auth: Option<ClientAuthMethod>,
    /// Whether users sign in here; otherwise the provider is for connections only. On by default.
    #[default(true)]
    pub login: bool,
    /// Scopes of a login, in addition to those of the resources. By default `openid email profile`. Many providers
    /// issue a refresh token only for `offline_access`. Connections have their own scopes.
    #[default(["openid", "email", "profile"].map(str::to_owned).to_vec())]
    pub scopes: Vec<String>,
    /// How the authorization response is sent. By default `query`, which works with the cookie rules of every browser.
    pub response_mode: ResponseMode,
    /// Whether authorization requests are pushed to the provider (RFC 9126). By default when the metadata requires it, or a
    /// request is too long for a redirect.
    pub pushed_authorization_requests: PushedAuthorizationRequests,
    /// Only members of this Google Workspace or similar domain may sign in, or connect an account: sent as `hd`, and
    /// required in the ID token.
    pub hosted_domain: Option<String>,
    /// When to call the UserInfo endpoint. By default if the ID token lacks claims of the scopes, because many
    /// providers send e-mail address and name only there (OpenID Connect Core 1.0 section 5.4).
    pub fetch_user_info: FetchUserInfo,
    /// Additional parameters of the authorization request, such as `access_type=offline` or `claims`.
    pub authorization_parameters: Vec<(String, String)>,
    /// The names of parameters that a single login may add to its authorization request, such as `kc_idp_hint`,
    /// `organization`, `screen_hint`, `domain_hint` or `ui_locales`: with [`LoginOptions::parameter`](crate::LoginOptions::parameter),
    /// or in the address of the login (`/auth/login?return_to=/&ui_locales=fr`). Anyone can write a link with any value of them.
    /// By default none.
    pub login_parameters: Vec<String>,
    /// Audiences in addition to `client_id` that an ID token may name. By default none: each of them could pass the
    /// tokens on (OpenID Connect Core 1.0 section 3.1.3.7).
    pub trusted_audiences: Vec<String>,
    /// Accepts every further audience of an ID token whose `azp` is this client, as at Zitadel, which names the project and
    /// each of its applications. Off by default, because it gives up a protection (OpenID Connect Core 1.0 section 3.1.3.7):
    /// each of these audiences may accept the ID tokens of this application's users as its own, and nobody here looks who
    /// they are. [`ProviderConfig::trusted_audiences`] names them instead. In the tests of this crate the lie `aud with
    /// another, azp us` is then accepted, and no other.
    pub any_audience_with_azp: bool,
    /// Whether this provider's access tokens have no type of their own: their `typ` is `JWT`, or there is none, as at Keycloak,
    /// Auth0 and Microsoft Entra ID. Off by default: `typ` must be `at+jwt` (RFC 9068 section 4), so that no other token of
    /// the provider passes for an access token. If it is on, the audience and the claims alone tell them apart.
    pub plain_jwt_access_tokens: bool,
    /// Where this provider says the roles of its users ([`CurrentUser::roles`](crate::CurrentUser::roles)). By default nowhere.
    /// The guide is [`docs::roles`](crate::docs::roles).
    pub roles: Vec<RoleClaim>,
    /// The audience (`aud`) of the access token of a login, where roles come from it. By default that of
    /// [`Config::api`](crate::Config::api). At Keycloak it is `account`, unless a mapper adds others.
    pub access_token_audience: Option<String>,
    /// The one algorithm with which this provider signs ID tokens and logout tokens, such as `RS256` or `ES256`, as it is
    /// registered there (OpenID Connect Dynamic Client Registration 1.0 section 2). By default each algorithm that the
    /// metadata list is accepted, and a logout token must be signed like the ID tokens of the sessions that it ends.
    pub id_token_signed_response_alg: Option<String>,
    /// The one algorithm with which this provider signs UserInfo responses, such as `RS256`, as it is registered there (OpenID
    /// Connect Dynamic Client Registration 1.0 section 2). A response without a signature is then refused. By default it may be
    /// plain JSON, or signed with an algorithm that the metadata list.
    pub userinfo_signed_response_alg: Option<String>,
    /// JSON pointers (RFC 6901) into the parameter `user` of an authorization response, such as `/name/firstName`. The texts
    /// there, joined by blanks, are the claim `name` of a login whose ID token has none. By default none.
    ///
    /// Apple sends a name so, with the first login only: keep it in a [login hook](crate::Config::on_login). It is not
    /// signed: it is what the user calls themselves.
    pub name_in_response: Vec<String>,
    /// Whether a user whose tokens have expired without a refresh token is asked for consent (`prompt=consent`) when they grant
    /// access again, once, as at Google: it sends a refresh token with the first consent only, and with such a prompt. Off by
    /// default: other providers would ask without a reason.
    pub prompts_for_refresh_token: bool,
    /// How this provider is told for which API a token is. By default by the parameter `resource` (RFC 8707).
    pub api_naming: ApiNaming,
    /// The APIs to which the tokens of a login here may be sent. An API that accepts tokens of several providers is
    /// listed at each.
    pub resources: Vec<Resource>,
    /// Additional grants at this provider.
    pub connections: Vec<Connection>,
    /// Whether logout revokes the session's refresh token. Off by default. Use it only for a provider whose revocation
    /// ends that token alone; at other providers it would sign out the user's other browsers.
    pub revoke_at_logout: bool,
    /// Whether the provider's revocation (RFC 7009) ends only the given token and the tokens that were issued for it.
    /// If set, refused tokens of a login, a connection or a refresh are revoked. Off by default: they are discarded,
    /// with the event [`EventCode::TokensDropped`](crate::EventCode::TokensDropped), because some providers end
    /// everything that the user has granted to this application, also in their other browsers.
    pub revocation_is_per_token: bool,
    /// The URL to which a logout sends the browser at a provider that has no RP-initiated logout, or one of its own, as Amazon
    /// Cognito: `https://HOST/logout?client_id={client_id}&logout_uri={post_logout_redirect_uri}`. The placeholders are
    /// replaced by the client id and by [`Config::post_logout_url`](crate::Config::post_logout_url), percent-encoded;
    /// `{end_session_endpoint}` by that of the metadata. The browser comes back to `post_logout_url` and not to the
    /// destination of the logout. By default none.
    pub logout_url: Option<String>,
    /// Whether logout also ends the session at the provider, if it supports that (OpenID Connect RP-Initiated Logout
    /// 1.0). On by default.
    #[default(true)]
    pub logout_at_provider: bool,
}

impl ProviderConfig {
    /// A registration at a provider for logins, as a public client until a [secret](ProviderConfig::client_secret) is
    /// set.
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), client_id: client_id.into(), ..Self::default() }
    }

    setters! {
        into name: String;
        some display_name, internal_url, private_key_id, client_assertion_issuer, token_endpoint_auth_signing_alg,
            client_assertion_audience, hosted_domain, access_token_audience, id_token_signed_response_alg,
            userinfo_signed_response_alg, logout_url: String;
        list tenants, scopes, login_parameters, trusted_audiences: String;
        value any_tenant, any_audience_with_azp, plain_jwt_access_tokens, prompts_for_refresh_token,
            revoke_at_logout, revocation_is_per_token, logout_at_provider: bool;
        some client_secret: Secret;
        some client_assertion_file: PathBuf;
        some client_auth: ClientAuthMethod;
        value response_mode: ResponseMode;
        value pushed_authorization_requests: PushedAuthorizationRequests;
        value fetch_user_info: FetchUserInfo;
        value api_naming: ApiNaming;
        /// Adds a private key. The first signs.
        add private_key to private_keys: PrivateKey;
        /// Adds an API to which the tokens of a login here may be sent.
        add resource to resources: Resource;
        /// Adds a connection at this provider.
        add connection to connections: Connection;
        /// Makes the provider one for connections only.
        set without_login to login: false;
    }

    /// Makes the provider one of OAuth 2.0 without ID tokens. The scopes of a login are then those that are set after this
    /// call.
    ///
    /// With an empty [`ProviderConfig::issuer`] the issuer is `oauth2:` with the token endpoint's host and path, such as
    /// `oauth2:acme.test/oauth/token`. One that is set must begin so, and stays when the endpoint moves.
    #[must_use]
    pub fn oauth2(mut self, oauth2: OAuth2) -> Self {
        self.scopes.clear();
        self.oauth2 = Some(oauth2);
        self
    }

    /// Sets an endpoint by its name in the [metadata](ProviderConfig::metadata), such as `token_endpoint`.
    #[must_use]
    pub fn endpoint(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), Value::String(url.into()));
        self
    }

    /// Adds a claim that names [roles](ProviderConfig#structfield.roles), by its source and its place there.
    ///
    /// ```
    /// # use tower_oidc::{ClaimSource, ProviderConfig};
    /// let keycloak = ProviderConfig::new("https://id.example.org/realms/app", "app")
    ///     .roles(ClaimSource::IdToken, "/realm_access/roles")
    ///     .roles(ClaimSource::IdToken, "/resource_access/app/roles");
    /// ```
    #[must_use]
    pub fn roles(mut self, from: ClaimSource, at: impl Into<String>) -> Self {
        self.roles.push(RoleClaim::new(from, at));
        self
    }

    /// Adds a parameter to the authorization request.
    #[must_use]
    pub fn authorization_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.authorization_parameters.push((name.into(), value.into()));
        self
    }

    /// Where a logout sends the browser, in the provider's own way.
    pub(crate) fn filled_logout_url(&self, end_session_endpoint: Option<&Url>, post_logout_url: &Url) -> Option<Url> {
        let filled = self.logout_url.as_ref()?.replace("{client_id}", &encoded(&self.client_id));
        let filled = filled.replace("{post_logout_redirect_uri}", &encoded(post_logout_url.as_str()));
        Url::parse(&filled.replace("{end_session_endpoint}", end_session_endpoint.map_or("", Url::as_str))).ok()
    }

    /// Whether it says which provider it is.
    pub(crate) fn is_named(&self) -> bool {
        !self.issuer.is_empty() || self.oauth2.is_some()
    }

    /// How the client can prove itself with what is configured, the best way first.
    pub(crate) fn client_auth_methods(&self) -> Vec<ClientAuthMethod> {
        use ClientAuthMethod::{AssertionFile, ClientSecretBasic, ClientSecretJwt, ClientSecretPost, PrivateKeyJwt};
        let methods: [(bool, &[ClientAuthMethod]); 3] = [
            (!self.private_keys.is_empty(), &[PrivateKeyJwt]),
            (self.client_assertion_file.is_some(), &[AssertionFile]),
            (self.client_secret.is_some(), &[ClientSecretBasic, ClientSecretPost, ClientSecretJwt]),
        ];
        methods.iter().filter(|(is_set, _)| *is_set).flat_map(|(_, methods)| *methods).copied().collect()
    }

    /// Whether a rule for roles has this source.
    pub(crate) fn takes_roles_from(&self, source: ClaimSource) -> bool {
        self.roles.iter().any(|rule| rule.from == source)
    }

    /// Whether the client credentials grant may work: the client proves itself. Where its secret is signed, which is at Apple,
    /// there is no such grant.
    pub(crate) fn has_client_credentials(&self) -> bool {
        let has_no_grant =
            matches!(self.client_auth, Some(ClientAuthMethod::None | ClientAuthMethod::SignedClientSecret));
        !self.client_auth_methods().is_empty() && !has_no_grant
    }
}

/// Whether a connection or a provider may have this name, which appears in addresses.
pub(crate) fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(known)
}
