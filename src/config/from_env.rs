//! The configuration from environment variables.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::api::Api;
use super::development::local_url;
use super::environment::{Environment, listed, variable};
use super::mode::Mode;
use super::shared_account::SharedAccount;
use crate::protocol::RoleClaim;
use crate::provider::{Network, PrivateKey, ProviderConfig};

use crate::error::ConfigError;
use crate::secret::Secret;

impl SharedAccount {
    /// Reads `ACCOUNT` and `ACCOUNT_REFRESH_TOKEN`, or the file that `ACCOUNT_REFRESH_TOKEN_FILE` names.
    fn read(environment: &mut Environment<'_>) -> Self {
        let token = environment.secret("ACCOUNT_REFRESH_TOKEN");
        let account = match (environment.value("ACCOUNT").as_deref(), token) {
            (Some("refresh-token"), Some(token)) => Some(Self::refresh_token(token)),
            (None | Some("client-credentials"), None) => Some(Self::client_credentials()),
            (Some("operator"), None) => Some(Self::connected_by_admin()),
            (Some("refresh-token"), None) => {
                environment.refuse("ACCOUNT is refresh-token: set ACCOUNT_REFRESH_TOKEN too")
            }
            (None | Some("client-credentials" | "operator"), Some(_)) => {
                environment.refuse("ACCOUNT_REFRESH_TOKEN is set: set ACCOUNT to refresh-token, or remove it")
            }
            (Some(other), _) => {
                environment.refuse(format!("ACCOUNT is {other:?}: use client-credentials, refresh-token or operator"))
            }
        };
        account.unwrap_or_else(Self::connected_by_admin)
    }
}

impl Config {
    /// Reads the configuration from environment variables:
    ///
    /// | variable | meaning | default |
    /// |---|---|---|
    /// | `OIDC_ISSUER` | the provider's issuer, or `development` ([`Config::development`]) | required |
    /// | `OIDC_PRESET` | a provider by name, such as `github`, in place of its issuer and endpoints ([`ProviderConfig::presets`]); `OIDC_PRESET_FILE`: a JSON file of the same form | none |
    /// | `OIDC_{AUTHORIZATION,TOKEN,USERINFO,REVOCATION,END_SESSION,JWKS}_ENDPOINT` | endpoints in place of those of the metadata ([`ProviderConfig::metadata`]) | the metadata's |
    /// | `OIDC_IDENTITY_ENDPOINT` | where a provider without ID tokens says who signed in ([`OAuth2`](crate::OAuth2)) | none |
    /// | `OIDC_TENANTS` | the tenants whose users sign in, separated by commas; `*`: all ([`ProviderConfig::tenants`]) | none: one issuer |
    /// | `OIDC_CLIENT_ID`, `OIDC_CLIENT_SECRET` | the registration at the provider | none |
    /// | `OIDC_INTERNAL_URL` | the provider's URL for the application itself ([`ProviderConfig::internal_url`]) | the issuer |
    /// | `OIDC_SCOPES` | scopes of a login, separated by spaces | `openid email profile` |
    /// | `OIDC_RESPONSE_MODE` | `query` or `form_post` | `query` |
    /// | `OIDC_ID_TOKEN_SIGNED_RESPONSE_ALG` | the one algorithm of ID and logout tokens | those of the metadata |
    /// | `OIDC_USERINFO_SIGNED_RESPONSE_ALG` | the one algorithm of UserInfo responses, which must then be signed ([`ProviderConfig::userinfo_signed_response_alg`]) | plain, or those of the metadata |
    /// | `OIDC_PRIVATE_KEY_FILE` | in place of a secret: files with [private keys](crate::PrivateKey), separated by commas; the first signs | none |
    /// | `OIDC_PRIVATE_KEY_ID`, `OIDC_CLIENT_ASSERTION_ISSUER` | at Apple: the key id, and the team id | the key's thumbprint, the client id |
    /// | `OIDC_TOKEN_ENDPOINT_AUTH_SIGNING_ALG` | the algorithm of the assertions that an RSA key signs: `RS256` or `PS256` | `RS256` |
    /// | `OIDC_CLIENT_ASSERTION_FILE` | in place of a secret: a file into which the platform writes assertions ([`ProviderConfig::client_assertion_file`]) | none |
    /// | `OIDC_CLIENT_ASSERTION_AUDIENCE` | the audience of the application's own assertions | the issuer |
    /// | `OIDC_CLIENT_AUTH_METHOD` | `client_secret_basic`, `client_secret_post`, `client_secret_jwt`, `private_key_jwt`, `assertion_file` or `none` | from the metadata |
    /// | `OIDC_FETCH_USER_INFO` | `never`, `when-needed` or `always` | `when-needed` |
    /// | `OIDC_LOGIN_PARAMETERS` | names of parameters that a login may add, such as `ui_locales`, separated by commas ([`ProviderConfig::login_parameters`]) | none |
    /// | `OIDC_TRUSTED_AUDIENCES` | more audiences that ID tokens may name, separated by commas | none |
    /// | `OIDC_ANY_AUDIENCE_WITH_AZP` | `true`: they may name any, if `azp` is the client ([`ProviderConfig::any_audience_with_azp`]) | `false` |
    /// | `OIDC_API_NAMING` | how the provider is told for which API a token is: `resource`, `audience` or `scope` ([`ApiNaming`](crate::ApiNaming)) | `resource` |
    /// | `OIDC_PLAIN_JWT_ACCESS_TOKENS` | `true`: its access tokens have no type of their own ([`ProviderConfig::plain_jwt_access_tokens`]) | `false` |
    /// | `OIDC_ROLES` | where roles are, such as `id_token:/realm_access/roles,user_info:/groups` ([`ProviderConfig::roles`]); `OIDC_ACCESS_TOKEN_AUDIENCE`: the `aud` of the access token that holds some ([`ProviderConfig::access_token_audience`]) | none |
    /// | `OIDC_PUSHED_AUTHORIZATION_REQUESTS` | `auto`, `always` or `never` | `auto` |
    /// | `OIDC_LOGOUT_URL` | the URL of a logout in the provider's own way, with placeholders ([`ProviderConfig::logout_url`]) | the metadata's endpoint |
    /// | `OIDC_DISPLAY_NAME` | the provider's name on the provider selection page | the issuer's host |
    /// | `OIDC_CA_FILE` | additional root certificates, PEM | none |
    /// | `SSL_CERT_FILE` | root certificates in place of Mozilla's, PEM | none |
    /// | `HTTPS_PROXY`, `NO_PROXY` | the proxy for https, and the hosts that are reached without it, separated by commas ([`Config::proxy`]) | none |
    /// | `OIDC_PROVIDERS` | the names of more providers, separated by commas | none |
    /// | `PUBLIC_URL` | the URL that browsers use | `http://localhost:PORT`, with the port of `BIND` or 3000 |
    /// | `BIND` | the address on which the application listens ([`Config::bind`]) | none |
    /// | `DEVELOPMENT_HOSTS` | host names besides loopback that are answered, separated by commas ([`Config::development_hosts`]) | none |
    /// | `MODE` | `per-user`, `stateless` or `single-user` | `per-user` |
    /// | `ACCOUNT` | in single-user mode the source of the account's grant: `client-credentials`, `refresh-token` or `operator` ([`SharedAccount`]) | `client-credentials` |
    /// | `ACCOUNT_REFRESH_TOKEN` | with `refresh-token`: the refresh token, or `ACCOUNT_REFRESH_TOKEN_FILE` with a file that holds it | none |
    /// | `SESSION_SECRET` | one or several session secrets, separated by commas | generated at start |
    /// | `SESSION_COOKIE_NAME` | with what the names of cookies begin | `tower-oidc` |
    /// | `FRONTCHANNEL_LOGOUT` | `true`: the front-channel logout endpoint answers | `false` |
    /// | `SESSION_REVALIDATE_EVERY` | seconds after which the provider is asked whether the user may stay ([`Config::revalidate_every`]) | never |
    /// | `API_AUDIENCE` | access tokens for this audience are accepted ([`Config::api`]); `API_INTROSPECT_AT`: the provider that is asked about opaque ones | none |
    /// | `ADMINS` | verified e-mail addresses of admins, separated by commas; `ADMIN_ROLES`: roles of admins ([`Config::admin_roles`]) | none |
    ///
    /// `OIDC_CLIENT_SECRET_FILE` and `SESSION_SECRET_FILE` name files with these secrets. A secret together with its
    /// `…_FILE` is an error.
    ///
    /// For each name in `OIDC_PROVIDERS`, such as `work`, there are the same variables, as `OIDC_WORK_ISSUER`,
    /// `OIDC_WORK_CLIENT_ID` and so on (by default its scopes and response mode are those of `OIDC_SCOPES` and
    /// `OIDC_RESPONSE_MODE`), and `OIDC_WORK_LOGIN` (`false`: for connections only). In the names of variables `-` becomes
    /// `_`: the provider `at-home` has `OIDC_AT_HOME_ISSUER`.
    /// Without `OIDC_ISSUER` the first of the list is the first provider; otherwise the provider of `OIDC_ISSUER` is
    /// the first, and is called `default`. With several providers for logins, each entry of `ADMINS` and `ADMIN_ROLES` names its
    /// provider: `work:root@example.org`.
    ///
    /// Other fields are set on the result.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable that is missing or cannot be read.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_env_with(variable)
    }

    /// Like [`Config::from_env`], with variables from a function.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable that is missing or cannot be read.
    pub fn from_env_with(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut environment = Environment::new(&variable);
        let mut config = Self::default();
        config.provider = ProviderConfig::read(&mut environment, "OIDC_", &config.provider);
        let secrets = environment.secret("SESSION_SECRET");
        config.session_secrets = listed(&secrets.unwrap_or_default());
        // What is no address of a socket is the application's own affair, unless the development provider needs it.
        config.bind = environment.value("BIND").and_then(|bind| bind.parse().ok());
        config.development_hosts = environment.list("DEVELOPMENT_HOSTS");
        config.network = Network::read(&environment);
        config.ca_file = environment.value("OIDC_CA_FILE").map(PathBuf::from);
        config.admins = environment.list("ADMINS");
        config.admin_roles = environment.list("ADMIN_ROLES");
        config.public_url = environment.value("PUBLIC_URL").unwrap_or_else(|| local_url(config.bind));
        config.cookie_name = environment.value("SESSION_COOKIE_NAME").unwrap_or(config.cookie_name);
        environment.set(&mut config.frontchannel_logout, "FRONTCHANNEL_LOGOUT", "true or false");
        let mut revalidate_every: Option<u64> = None;
        environment.set(&mut revalidate_every, "SESSION_REVALIDATE_EVERY", "a number of seconds");
        config.revalidate_every = revalidate_every.map(Duration::from_secs);
        config.api = environment.value("API_AUDIENCE").map(Api::new);
        let introspect_at = environment.value("API_INTROSPECT_AT");
        if introspect_at.is_some() && config.api.is_none() {
            environment.note("API_INTROSPECT_AT is set: set API_AUDIENCE too");
        }
        config.api.iter_mut().for_each(|api| api.introspect_at.clone_from(&introspect_at));
        config.mode = mode(&mut environment);
        ProviderConfig::add_from(&mut environment, &mut config);
        if !config.provider.is_named() {
            environment.note(
                "no issuer is set: set OIDC_ISSUER to the provider's issuer URL, with OIDC_CLIENT_ID and OIDC_CLIENT_SECRET; \
                 or, to try the application on this machine alone, OIDC_ISSUER=development (feature `dev-provider`). For a provider \
                 without OpenID Connect set OIDC_PRESET, such as github",
            );
        }
        ConfigError::check(environment.problems).map(|()| config)
    }
}

/// `MODE`, and what belongs to one mode alone.
fn mode(environment: &mut Environment<'_>) -> Mode {
    let mode = match environment.value("MODE").as_deref() {
        Some("single-user") => return Mode::SingleUser(SharedAccount::read(environment)),
        None | Some("per-user") => Some(Mode::PerUser),
        Some("stateless") => Some(Mode::Stateless),
        Some(other) => environment.refuse(format!("MODE is {other:?}: use per-user, single-user or stateless")),
    };
    for name in ["ACCOUNT", "ACCOUNT_REFRESH_TOKEN", "ACCOUNT_REFRESH_TOKEN_FILE"] {
        if environment.value(name).is_some() {
            environment.note(format!("{name} is set: set MODE to single-user, or remove it"));
        }
    }
    mode.unwrap_or_default()
}

impl ProviderConfig {
    /// Those that `OIDC_PROVIDERS` names, the first of which is the first of all where no other is configured.
    fn add_from(environment: &mut Environment<'_>, config: &mut Config) {
        let names = environment.list("OIDC_PROVIDERS");
        // A preset's own are no other provider's.
        let scopes = environment.scopes("OIDC_SCOPES").unwrap_or(Self::default().scopes);
        let response_mode = environment.value("OIDC_RESPONSE_MODE").map(|_| config.provider.response_mode);
        let defaults = Self { scopes, response_mode: response_mode.unwrap_or_default(), ..Self::default() };
        let read = names.iter().map(|name| {
            let prefix = format!("OIDC_{}_", name.to_ascii_uppercase().replace('-', "_"));
            let provider = Self::read(environment, &prefix, &defaults).name(name);
            for (end, value) in [("ISSUER", &provider.issuer), ("CLIENT_ID", &provider.client_id)] {
                if value.is_empty() && !(end == "ISSUER" && provider.is_named()) {
                    environment.note(format!("{prefix}{end} is missing: OIDC_PROVIDERS names {name}"));
                }
            }
            provider
        });
        let mut providers = read.collect::<Vec<_>>().into_iter();
        if !config.provider.is_named()
            && let Some(first) = providers.next()
        {
            if !config.provider.client_id.is_empty() || config.provider.client_secret.is_some() {
                environment.note("OIDC_CLIENT_ID or OIDC_CLIENT_SECRET is set without OIDC_ISSUER: set all or none");
            }
            config.provider = first;
        }
        config.more_providers.extend(providers);
    }

    /// The provider whose variables begin so. What is not set is as in `defaults`.
    fn read(environment: &mut Environment<'_>, prefix: &str, defaults: &Self) -> Self {
        let name = |end: &str| format!("{prefix}{end}");
        let preset = Self::preset(environment, &name("PRESET"));
        let defaults = preset.as_ref().unwrap_or(defaults);
        let client_secret = environment.secret(&name("CLIENT_SECRET")).map(Secret::from);
        let text = |end: &str| environment.value(&name(end));
        let or = |end: &str, default: &Option<String>| text(end).or_else(|| default.clone());
        let key_file = |path: String| PrivateKey::File(path.into());
        let listed = |end: &str| Some(environment.list(&name(end))).filter(|list| !list.is_empty());
        let signing_alg = or("TOKEN_ENDPOINT_AUTH_SIGNING_ALG", &defaults.token_endpoint_auth_signing_alg);
        let mut provider = Self {
            issuer: text("ISSUER").unwrap_or_else(|| defaults.issuer.clone()),
            internal_url: or("INTERNAL_URL", &defaults.internal_url),
            client_id: text("CLIENT_ID").unwrap_or_default(),
            client_secret,
            private_keys: environment.list(&name("PRIVATE_KEY_FILE")).into_iter().map(key_file).collect(),
            private_key_id: text("PRIVATE_KEY_ID"),
            client_assertion_issuer: text("CLIENT_ASSERTION_ISSUER"),
            client_assertion_file: text("CLIENT_ASSERTION_FILE").map(PathBuf::from),
            client_assertion_audience: or("CLIENT_ASSERTION_AUDIENCE", &defaults.client_assertion_audience),
            token_endpoint_auth_signing_alg: signing_alg,
            logout_url: or("LOGOUT_URL", &defaults.logout_url),
            display_name: or("DISPLAY_NAME", &defaults.display_name),
            id_token_signed_response_alg: or("ID_TOKEN_SIGNED_RESPONSE_ALG", &defaults.id_token_signed_response_alg),
            userinfo_signed_response_alg: or("USERINFO_SIGNED_RESPONSE_ALG", &defaults.userinfo_signed_response_alg),
            tenants: listed("TENANTS").unwrap_or_else(|| defaults.tenants.clone()),
            any_tenant: defaults.any_tenant && listed("TENANTS").is_none(),
            login_parameters: listed("LOGIN_PARAMETERS").unwrap_or_else(|| defaults.login_parameters.clone()),
            trusted_audiences: listed("TRUSTED_AUDIENCES").unwrap_or_else(|| defaults.trusted_audiences.clone()),
            scopes: environment.scopes(&name("SCOPES")).unwrap_or_else(|| defaults.scopes.clone()),
            access_token_audience: or("ACCESS_TOKEN_AUDIENCE", &defaults.access_token_audience),
            ..defaults.clone()
        };
        if let Some(roles) = listed("ROLES") {
            let read = roles.iter().map(|rule| RoleClaim::parse(rule)).collect::<Option<_>>();
            let (name, example) = (name("ROLES"), "id_token:/groups,user_info:/groups,access_token:/groups");
            let refuse = || environment.refuse(format!("{name} is {roles:?}: use rules such as {example}"));
            provider.roles = read.or_else(refuse).unwrap_or_default();
        }
        if provider.tenants == ["*"] {
            (provider.tenants, provider.any_tenant) = (Vec::new(), true);
        }
        provider.set_endpoints(environment, prefix);
        environment.set(&mut provider.login, &name("LOGIN"), "true or false");
        environment.set(&mut provider.response_mode, &name("RESPONSE_MODE"), "query or form_post");
        let all = "client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, assertion_file or none";
        environment.set(&mut provider.client_auth, &name("CLIENT_AUTH_METHOD"), all);
        environment.set(&mut provider.plain_jwt_access_tokens, &name("PLAIN_JWT_ACCESS_TOKENS"), "true or false");
        environment.set(&mut provider.any_audience_with_azp, &name("ANY_AUDIENCE_WITH_AZP"), "true or false");
        environment.set(&mut provider.api_naming, &name("API_NAMING"), "resource, audience or scope");
        environment.set(&mut provider.fetch_user_info, &name("FETCH_USER_INFO"), "never, when-needed or always");
        let (pushed, values) = (&mut provider.pushed_authorization_requests, "auto, always or never");
        environment.set(pushed, &name("PUSHED_AUTHORIZATION_REQUESTS"), values);
        provider
    }
}
