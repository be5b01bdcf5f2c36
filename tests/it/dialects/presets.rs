//! Presets by their names. Those whose issuer is the tenant's own need it beside the name.

use tower_oidc::store::MemoryStore;
use tower_oidc::{ApiNaming, ClaimSource, Config, OidcLayer, ProviderConfig, RoleClaim};

fn from_env(preset: &'static str, issuer: Option<&'static str>, provider: &'static str) -> Result<Config, String> {
    let variable = move |name: &str| {
        let name = match (provider, name) {
            ("", name) => name.strip_prefix("OIDC_")?.to_owned(),
            (_, "OIDC_PROVIDERS") => return Some(provider.to_owned()),
            (_, name) => name.strip_prefix(&format!("OIDC_{}_", provider.to_ascii_uppercase()))?.to_owned(),
        };
        match name.as_str() {
            "PRESET" => Some(preset.to_owned()),
            "ISSUER" => issuer.map(str::to_owned),
            "CLIENT_ID" => Some("c".to_owned()),
            "CLIENT_SECRET" => Some("s".to_owned()),
            "TENANTS" if preset == "entra" => Some("t1".to_owned()),
            _ => None,
        }
    };
    Config::from_env_with(variable).map_err(|error| error.to_string())
}

#[test]
fn each_preset_of_an_openid_provider_configures_a_layer() {
    for (preset, issuer) in [
        ("google", None),
        ("entra", None),
        ("auth0", Some("https://example.eu.auth0.com/")),
        ("cognito", Some("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc")),
        ("keycloak", Some("https://id.example.org/realms/example")),
        ("zitadel", Some("https://example.zitadel.cloud")),
    ] {
        for provider in ["", "work"] {
            let config = from_env(preset, issuer, provider).unwrap_or_else(|error| panic!("{preset}: {error}"));
            assert_eq!(config.provider.client_id, "c", "{preset}");
            assert!(issuer.is_none_or(|issuer| config.provider.issuer == issuer), "{preset}");
            let layer = OidcLayer::per_user(config, MemoryStore::new());
            assert!(layer.is_ok(), "{preset}: {:?}", layer.err());
        }
        if issuer.is_some() {
            let refused = from_env(preset, None, "").unwrap_err();
            assert!(refused.contains("set OIDC_ISSUER"), "{preset}: {refused}");
            let refused = from_env(preset, None, "work").unwrap_err();
            assert!(refused.contains("OIDC_WORK_ISSUER"), "{preset}: {refused}");
            let mut provider = ProviderConfig::presets().remove(preset).unwrap();
            provider.client_id = "c".to_owned();
            let refused = OidcLayer::per_user(Config::new("https://app.test", provider), MemoryStore::new());
            assert!(refused.err().unwrap().to_string().contains("OIDC_ISSUER"), "{preset}");
        }
    }
}

#[test]
fn presets_are_the_settings_of_a_provider() {
    let mut presets = ProviderConfig::presets();
    let mut preset = |name: &str| presets.remove(name).unwrap();
    let google = preset("google");
    assert_eq!(google.authorization_parameters, [("access_type".to_owned(), "offline".to_owned())]);
    assert!(google.prompts_for_refresh_token && !google.revoke_at_logout && !google.revocation_is_per_token);
    assert_eq!(preset("auth0").api_naming, ApiNaming::Audience);
    assert_eq!(preset("entra").api_naming, ApiNaming::Scope);
    assert_eq!(preset("cognito").roles, [RoleClaim::new(ClaimSource::IdToken, "/cognito:groups")]);
    let keycloak = preset("keycloak");
    assert_eq!(keycloak.roles, [RoleClaim::new(ClaimSource::AccessToken, "/realm_access/roles")]);
    assert!(keycloak.plain_jwt_access_tokens && !keycloak.any_audience_with_azp);
    // An ID token and an access token of one project differ by their types alone.
    let zitadel = preset("zitadel");
    assert!(zitadel.any_audience_with_azp && !zitadel.plain_jwt_access_tokens);
}
