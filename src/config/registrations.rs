//! The registrations at providers, checked: what the layer works with.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use url::{Host, Position, Url};

use super::connection::{Resource, distinct};
use super::{Config, development};
use crate::clock::Timestamp;
use crate::protocol::authorization::is_reserved;
use crate::protocol::metadata::is_secure;
use crate::protocol::{
    Algorithm, ApiNaming, ClaimSource, ClientAuthMethod, FetchUserInfo, OAuth2, PSEUDO, ProviderIssuer, RoleClaim,
};
use crate::provider::provider_config::is_name;
use crate::provider::{ClientKeys, ProviderConfig, ProviderId, RelyingParty};
use crate::records::grant::encode;

/// Every provider as it was written, the first first.
pub(crate) fn written(config: &Config, public_url: &Url, problems: &mut Vec<String>) -> Vec<ProviderConfig> {
    let mut providers: Vec<_> = config.providers().cloned().collect();
    if config.is_development() {
        development::register(&mut providers[0], config, public_url, problems);
    }
    for provider in &mut providers {
        let api = || config.api.as_ref().map(|api| api.audience.clone());
        provider.access_token_audience = provider.access_token_audience.take().or_else(api);
        let apis = provider.connections.iter_mut().flat_map(|connection| &mut connection.resources);
        let is_named = |api: &&mut Resource| provider.api_naming == ApiNaming::Scope && !api.scopes.is_empty();
        for api in apis.chain(&mut provider.resources).filter(is_named) {
            api.indicator.get_or_insert_with(|| api.name.clone());
        }
        if provider.oauth2.is_some() && provider.issuer.is_empty() {
            provider.issuer = pseudo_issuer(provider).unwrap_or_default();
        }
    }
    providers
}

/// The name of whoever issues tokens at an endpoint: people are theirs.
fn pseudo_issuer(provider: &ProviderConfig) -> Option<String> {
    let endpoint = Url::parse(provider.metadata.get("token_endpoint")?.as_str()?).ok()?;
    Some(format!("{PSEUDO}{}", &endpoint[Position::BeforeHost..Position::AfterPath]))
}

impl RelyingParty {
    /// Checks what was written of every provider; `callback` is the redirect URI where there is only one.
    pub(crate) fn check(
        providers: &[ProviderConfig], public_url: &Url, callback: &str, problems: &mut Vec<String>,
    ) -> Vec<Self> {
        let several = providers.len() > 1;
        let each = providers.iter().enumerate().map(|(index, provider)| {
            let mut found = Vec::new();
            names(provider, &providers[..index], &mut found);
            registration(provider, &mut found);
            if index == 0 && !provider.login {
                found.push("it is the first, and has no logins: begin with a provider for logins".to_owned());
            }
            let keys = Arc::new(client_authentication(provider, &mut found));
            let internal_url = internal_url(provider, public_url, &mut found);
            let named = |problem| if several { format!("provider {:?}: {problem}", provider.name) } else { problem };
            problems.extend(found.into_iter().map(named));
            // Where there are several, a response arrives where nobody else's does (RFC 9700 section 4.4.2.2).
            let redirect_uri = if several { format!("{callback}/{}", provider.name) } else { callback.to_owned() };
            let client = encode(&[provider.issuer.as_bytes(), provider.client_id.as_bytes()]);
            Self {
                id: ProviderId(index),
                display_name: display_name(provider),
                issuer: issuer(provider),
                internal_url,
                response_issuer: match &provider.oauth2 {
                    Some(OAuth2 { response_issuer: Some(named), .. }) => ProviderIssuer::exact(named),
                    _ => issuer(provider),
                },
                client: Sha256::digest(client).into(),
                redirect_uri,
                decisive: Vec::new(),
                algorithm: provider.id_token_signed_response_alg.as_deref().and_then(Algorithm::from_name),
                keys,
                written: provider.clone(),
            }
        });
        each.collect()
    }
}

fn display_name(provider: &ProviderConfig) -> String {
    let url = Url::parse(&provider.issuer.replacen(PSEUDO, "https://", 1)).ok();
    let host = || url?.host_str().map(str::to_owned);
    provider.display_name.clone().or_else(host).unwrap_or_else(|| provider.name.clone())
}

/// The provider's issuer, with its tenants. Without a place for them it has none, which is a problem of its own.
fn issuer(provider: &ProviderConfig) -> ProviderIssuer {
    let ProviderConfig { issuer: url, tenants, any_tenant, .. } = provider;
    ProviderIssuer::new(url, tenants, *any_tenant).unwrap_or_else(|| ProviderIssuer::exact(url))
}

/// Checks that a provider's name and issuer differ from those of the providers before it.
fn names(provider: &ProviderConfig, before: &[ProviderConfig], problems: &mut Vec<String>) {
    let name = &provider.name;
    if !is_name(name) {
        problems.push(format!("the name {name:?} is invalid: use up to 64 letters, digits, - and _"));
    }
    if before.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
        problems.push("another provider has the same name: give each provider its own".to_owned());
    }
    // A person is issuer and subject: under one issuer nobody could tell at which registration they signed in.
    let own = issuer(provider);
    if let Some(ProviderConfig { name, .. }) = before.iter().find(|other| issuer(other).overlaps(&own)) {
        problems.push(format!(
            "the provider {name:?} has the same issuer, or a tenant of it: register the application once at each provider, \
             and use connections for additional grants"
        ));
    }
    if !provider.login && !provider.resources.is_empty() {
        let why = "it has resources, but no logins (`login` is false): move them to a connection at this provider";
        problems.push(why.to_owned());
    }
}

/// Unencrypted only to this machine, or, in development, to a name that no DNS outside of this network knows.
fn internal_url(provider: &ProviderConfig, public_url: &Url, problems: &mut Vec<String>) -> Option<Url> {
    let given = provider.internal_url.as_deref()?;
    let is_named = |url: &Url| matches!(url.host(), Some(Host::Domain(name)) if !name.contains('.'));
    let in_development = |url: &Url| url.scheme() == "http" && public_url.scheme() == "http" && is_named(url);
    let url = Url::parse(given).ok().filter(|url| {
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        is_plain && (is_secure(url) || in_development(url))
    });
    if url.is_none() {
        problems.push(format!(
            "internal_url is {given:?} (OIDC_INTERNAL_URL): use https; http is for loopback, in development also for a bare name"
        ));
    }
    url
}

fn registration(provider: &ProviderConfig, problems: &mut Vec<String>) {
    let issuer = &provider.issuer;
    let secure = |url: &str| Url::parse(url).is_ok_and(|url| is_secure(&url));
    for (name, value) in &provider.metadata {
        let is_place = name.ends_with("_endpoint") || name.ends_with("_uri");
        if is_place && !value.as_str().is_some_and(secure) {
            problems.push(format!("{name} is {value}: use an https URL (http is for loopback only)"));
        }
    }
    if let Some(oauth2) = &provider.oauth2 {
        without_id_tokens(provider, oauth2, problems);
    }
    let valid = provider.oauth2.is_some()
        || Url::parse(issuer).is_ok_and(|url| is_secure(&url) && url.query().is_none() && url.fragment().is_none());
    if !valid {
        problems.push(format!(
            "issuer is {issuer:?} (OIDC_ISSUER): use the provider's https URL (http is for loopback only); a URL \
             that this application alone uses is internal_url (OIDC_INTERNAL_URL)"
        ));
    }
    if provider.any_tenant && !provider.tenants.is_empty() {
        problems.push("tenants are listed, and any_tenant is on: remove one (OIDC_TENANTS)".to_owned());
    }
    if ProviderIssuer::new(issuer, &provider.tenants, provider.any_tenant).is_none() {
        problems.push(format!(
            "issuer is {issuer:?}, which has no place for a tenant: use a URL such as \
             https://login.microsoftonline.com/organizations/v2.0, or remove tenants and any_tenant (OIDC_TENANTS)"
        ));
    }
    if provider.client_id.is_empty() {
        problems.push("client_id is missing: set the provider's client id (OIDC_CLIENT_ID)".to_owned());
    }
    if provider.oauth2.is_none() && provider.login && !provider.scopes.iter().any(|scope| scope == "openid") {
        problems.push("scopes lack `openid`: add it, because without it the provider issues no ID token".to_owned());
    }
    for (setting, value) in [
        ("id_token_signed_response_alg", &provider.id_token_signed_response_alg),
        ("userinfo_signed_response_alg", &provider.userinfo_signed_response_alg),
    ] {
        let unknown = value.iter().filter(|name| Algorithm::from_name(name).is_none());
        let (variable, known) = (setting.to_uppercase(), "use an asymmetric algorithm, such as RS256 or ES256");
        problems.extend(unknown.map(|name| format!("{setting} is {name:?} (OIDC_{variable}): {known}")));
    }
    let logout_url = provider.logout_url.as_ref().map(|url| url.replace("{end_session_endpoint}", "https://op.test"));
    if logout_url.is_some_and(|url| !secure(&url)) {
        problems.push("logout_url (OIDC_LOGOUT_URL) is no https URL (http is for loopback only): correct it".into());
    }
    roles(provider, problems);
    let names = provider.authorization_parameters.iter().map(|(name, _)| name.as_str());
    let is_naming = |name: &str| provider.api_naming.parameter() == name;
    for name in names.filter(|name| is_reserved(name) || is_naming(name)) {
        problems.push(format!("authorization_parameters has {name:?}, which the layer sets: remove it"));
    }
    let of_address = ["again", "at", "iss", "proof", "provider", "return_to", "target_link_uri"];
    let taken = provider.login_parameters.iter().filter(|one| is_reserved(one) || of_address.contains(&one.as_str()));
    let remedy = "(OIDC_LOGIN_PARAMETERS), which the layer sets or reads itself: remove it";
    problems.extend(taken.map(|name| format!("login_parameters has {name:?} {remedy}")));
}

/// Checks where roles are.
fn roles(provider: &ProviderConfig, problems: &mut Vec<String>) {
    let from = |source| provider.takes_roles_from(source);
    let of_access_token = from(ClaimSource::AccessToken);
    let without_id_token = provider.oauth2.is_some() && (of_access_token || from(ClaimSource::IdToken));
    let unasked = from(ClaimSource::UserInfo) && provider.fetch_user_info == FetchUserInfo::Never;
    let unknown = of_access_token && provider.access_token_audience.is_none();
    let indicators = provider.resources.iter().filter_map(|resource| resource.indicator.as_ref());
    for (is_wrong, problem) in [
        (!provider.roles.iter().all(RoleClaim::is_readable), "at no JSON pointer: use one such as /groups"),
        (!provider.roles.is_empty() && !provider.login, "of a provider without logins: remove them"),
        (without_id_token, "in tokens, and the provider's say nothing of users: use user_info"),
        (unasked, "in user_info, and fetch_user_info is never: remove one"),
        (unknown, "in access tokens: set access_token_audience (OIDC_ACCESS_TOKEN_AUDIENCE)"),
        (of_access_token && distinct(indicators).len() > 1, "in access tokens, and each API has others: use user_info"),
    ] {
        problems.extend(is_wrong.then(|| format!("roles (OIDC_ROLES) are {problem}")));
    }
}

/// Checks with what the application proves itself, and reads the keys for it.
fn client_authentication(provider: &ProviderConfig, problems: &mut Vec<String>) -> ClientKeys {
    if provider.client_secret.as_ref().is_some_and(|secret| secret.expose_secret().is_empty()) {
        problems.push("client_secret is empty: leave it out for a public client".to_owned());
    }
    let ProviderConfig { private_key_id: id, token_endpoint_auth_signing_alg: algorithm, .. } = provider;
    let is_signed =
        !provider.private_keys.is_empty() && provider.client_assertion_issuer.as_ref().and(id.as_ref()).is_some();
    let can_do = |method: ClientAuthMethod| match method {
        ClientAuthMethod::None => true,
        ClientAuthMethod::SignedClientSecret => is_signed,
        other => provider.client_auth_methods().contains(&other),
    };
    if let Some(method) = provider.client_auth.filter(|method| !can_do(*method)) {
        problems.push(format!(
            "client_auth is {method:?}, and what it needs is not set: a client_secret, a private key (OIDC_PRIVATE_KEY_FILE; for \
             SignedClientSecret also OIDC_PRIVATE_KEY_ID and OIDC_CLIENT_ASSERTION_ISSUER) or a client_assertion_file \
             (OIDC_CLIENT_ASSERTION_FILE)"
        ));
    }
    let is_template = provider.any_tenant || !provider.tenants.is_empty();
    let names_no_issuer = provider.oauth2.as_ref().map_or(is_template, |oauth2| oauth2.response_issuer.is_none());
    let asserts = !provider.private_keys.is_empty() || provider.client_auth == Some(ClientAuthMethod::ClientSecretJwt);
    if asserts && names_no_issuer && provider.client_assertion_audience.is_none() {
        let why = "client_assertion_audience is missing, and this provider has no issuer of its own: set it to the URL of the \
                   token endpoint (OIDC_CLIENT_ASSERTION_AUDIENCE)";
        problems.push(why.to_owned());
    }
    let (written, id, algorithm) = (provider.private_keys.clone(), id.clone(), algorithm.clone());
    let keys = ClientKeys { written, id, algorithm, ..ClientKeys::default() };
    if let Err(error) = keys.read(Timestamp::default()) {
        problems.push(error.to_string());
    }
    keys
}

/// Checks the configuration of a provider without ID tokens: its endpoints, and settings that only ID tokens allow.
fn without_id_tokens(provider: &ProviderConfig, oauth2: &OAuth2, problems: &mut Vec<String>) {
    for name in ["authorization_endpoint", "token_endpoint"] {
        if !provider.metadata.contains_key(name) {
            problems.push(format!("{name} is missing: a provider without ID tokens publishes no metadata"));
        }
    }
    let urls = oauth2.urls();
    if !urls.is_ok_and(|(identity, list)| is_secure(&identity) && list.as_ref().is_none_or(is_secure)) {
        problems.push(format!(
            "identity_endpoint is {:?}: use an https URL (http is for loopback only), also for the e-mail addresses",
            oauth2.identity_endpoint
        ));
    }
    if !provider.issuer.starts_with(PSEUDO) {
        problems.push(format!(
            "issuer is {:?}, but a provider without ID tokens has none: leave it out, or begin it with {PSEUDO:?}",
            provider.issuer
        ));
    }
    if provider.hosted_domain.is_some() || provider.scopes.iter().any(|scope| scope == "openid") {
        problems.push("hosted_domain and the scope openid need ID tokens, and oauth2 says that there are none".into());
    }
}
