//! Each provider is a table and a fixture, and no code.

use std::collections::BTreeMap;

use axum::Json;
use axum::routing::get;
use serde_json::json;
use tower_oidc::{Config, Mode, OidcLayer, ProviderConfig, UserTokens};

use super::shapes::{self, TABLES};
use super::{Without, modes, preset, registered};
use crate::support::app::{APP, OP, routes};
use crate::support::oauth2::Shape;

/// What the double of a provider looks like, its table, and who alice is there.
fn all() -> Vec<(Shape, ProviderConfig, &'static str, &'static str, bool)> {
    let tables: BTreeMap<String, ProviderConfig> = serde_json::from_str(TABLES).unwrap();
    let own = |name: &str| registered(tables[name].clone());
    vec![
        (shapes::github(), preset("github"), "583231", "oauth2:github.com/login/oauth/access_token", true),
        (shapes::github_app(), preset("github"), "583231", "oauth2:github.com/login/oauth/access_token", true),
        (shapes::wakatime(), preset("wakatime"), "uuid-583231", "oauth2:wakatime.com/oauth/token", true),
        (shapes::todoist(), preset("todoist"), "583231", "oauth2:api.todoist.com/oauth/access_token", false),
        (shapes::bitbucket(), own("bitbucket"), "{583231}", "oauth2:bitbucket.org/site/oauth2/access_token", true),
        (
            shapes::digitalocean(),
            own("digitalocean"),
            "uuid-583231",
            "oauth2:cloud.digitalocean.com/v1/oauth/token",
            true,
        ),
    ]
}

#[tokio::test]
async fn each_signs_people_in_in_every_mode() {
    for (shape, provider, subject, issuer, verified) in all() {
        for mode in modes() {
            let has_own_tokens = !matches!(mode, Mode::SingleUser(_));
            let without = Without::of(mode, shape.clone(), provider.clone(), |config| config);
            let (alice, bob) = (without.signed_in("alice").await, without.signed_in("bob").await);
            let who = alice.navigate(&format!("{APP}/who")).await.json();
            assert_eq!((&who["sub"], &who["issuer"]), (&json!(subject), &json!(issuer)));
            assert_eq!(who["email"], "alice@example.com", "{issuer}");
            assert_eq!((&who["email_verified"], &who["name"]), (&json!(verified), &json!("alice")), "{issuer}");
            assert_ne!(without.world.who(&bob).await, who["sub"], "{issuer}");
            if has_own_tokens {
                let (status, token) = without.world.tok(&alice).await;
                assert_eq!(status, 200, "{issuer}: {token}");
                assert_eq!(without.provider.owner_of(&token).as_deref(), Some("alice"));
            }
            let asked = without.provider.authorizations().pop().unwrap();
            assert_eq!(asked.get("code_challenge_method"), Some("S256"), "{issuer}");
            assert!(asked.has("state") && !asked.has("nonce"), "{issuer}");
            assert_eq!(asked.get("scope"), Some(provider.scopes.join(shape.separators.0).as_str()), "{issuer}");
            let exchanges = without.world.net.exchanges();
            assert!(!exchanges.iter().any(|one| one.path.contains("/.well-known/")), "{issuer}: nothing to discover");
        }
    }
}

/// Scopes come back as a list, whatever stands between them.
#[tokio::test]
async fn scopes_with_commas_are_several() {
    for (shape, provider, ..) in all() {
        let expected = json!(provider.scopes);
        let without = Without::of(Mode::PerUser, shape, provider, |config| config);
        let status = get(|tokens: UserTokens| async move { tokens.connection_status("login").await.map(Json) });
        without.world.serve(routes().route("/status", status));
        let alice = without.signed_in("alice").await;
        let status = alice.navigate(&format!("{APP}/status")).await.json();
        assert_eq!(status["scopes"], expected, "{status}");
    }
}

fn from_env(variables: &'static [(&'static str, &'static str)]) -> Result<Config, String> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::from_env_with(variable).map_err(|error| error.to_string())
}

#[test]
fn the_environment_names_a_preset() {
    let config = from_env(&[("OIDC_PRESET", "github"), ("OIDC_CLIENT_ID", "c"), ("OIDC_CLIENT_SECRET", "s")]);
    let github = config.unwrap().provider;
    assert_eq!((github.client_id.as_str(), github.display_name.as_deref()), ("c", Some("GitHub")));
    assert_eq!(github.scopes, ["read:user", "user:email"]);
    let unknown = from_env(&[("OIDC_PRESET", "githup"), ("OIDC_CLIENT_ID", "c")]).unwrap_err();
    assert!(
        unknown
            .contains("use one of apple, auth0, cognito, entra, github, google, keycloak, todoist, wakatime, zitadel"),
        "{unknown}"
    );
    // Beside others, and over the preset.
    let config = from_env(&[
        ("OIDC_PROVIDERS", "hub,work"),
        ("OIDC_HUB_PRESET", "github"),
        ("OIDC_HUB_CLIENT_ID", "c"),
        ("OIDC_HUB_SCOPES", "repo"),
        ("OIDC_WORK_PRESET", "entra"),
        ("OIDC_WORK_CLIENT_ID", "w"),
        ("OIDC_WORK_TENANTS", "t1"),
    ]);
    let config = config.unwrap();
    assert_eq!((config.provider.name.as_str(), &config.provider.scopes[..]), ("hub", &["repo".to_owned()][..]));
    let work = &config.more_providers[0];
    assert_eq!(work.issuer, "https://login.microsoftonline.com/organizations/v2.0");
    assert_eq!((&work.tenants[..], work.oauth2.is_none()), (&["t1".to_owned()][..], true));
}

/// Endpoints over a preset replace all of it: nothing that one provider issues goes to another.
#[test]
fn endpoints_replace_those_of_a_preset_together() {
    let config = from_env(&[
        ("OIDC_PRESET", "wakatime"),
        ("OIDC_CLIENT_ID", "c"),
        ("OIDC_AUTHORIZATION_ENDPOINT", "https://ghe.test/authorize"),
        ("OIDC_TOKEN_ENDPOINT", "https://ghe.test/token"),
        ("OIDC_IDENTITY_ENDPOINT", "https://ghe.test/api/v3/user"),
    ]);
    let provider = config.unwrap().provider;
    let endpoints: Vec<_> = provider.metadata.keys().map(String::as_str).collect();
    assert_eq!(endpoints, ["authorization_endpoint", "token_endpoint"]);
    assert_eq!(provider.oauth2.unwrap().subject, "/data/id");
    let some = from_env(&[
        ("OIDC_PRESET", "github"),
        ("OIDC_CLIENT_ID", "c"),
        ("OIDC_TOKEN_ENDPOINT", "https://ghe.test/token"),
    ]);
    assert!(some.unwrap_err().contains("belong together"));
    let by_hand = from_env(&[
        ("OIDC_CLIENT_ID", "c"),
        ("OIDC_AUTHORIZATION_ENDPOINT", "https://acme.test/authorize"),
        ("OIDC_TOKEN_ENDPOINT", "https://acme.test/token"),
        ("OIDC_IDENTITY_ENDPOINT", "https://acme.test/me"),
        ("OIDC_SCOPES", "profile"),
    ]);
    let by_hand = by_hand.unwrap();
    assert_eq!((by_hand.provider.scopes.len(), by_hand.provider.issuer.as_str()), (1, ""));
    assert!(OidcLayer::per_user(by_hand, tower_oidc::store::MemoryStore::new()).is_ok());
}

/// A file holds a preset that the crate does not know.
#[test]
fn a_file_is_a_preset() {
    let folder = crate::support::folder::Folder::new();
    let path = folder.path().join("acme.json");
    let tables: serde_json::Value = serde_json::from_str(TABLES).unwrap();
    std::fs::write(&path, tables["bitbucket"].to_string()).unwrap();
    let read = |path: String| {
        Config::from_env_with(move |name| match name {
            "OIDC_PRESET_FILE" => Some(path.clone()),
            "OIDC_CLIENT_ID" => Some("c".to_owned()),
            _ => None,
        })
    };
    let provider = read(path.display().to_string()).unwrap().provider;
    assert_eq!(provider.oauth2.unwrap().subject, "/uuid");
    // Nothing in it is lost because a variable could say it, too.
    let strict = r#"{ "issuer": "https://op.test/organizations/v2.0", "id_token_signed_response_alg": "ES256",
        "tenants": ["t1"], "trusted_audiences": ["api"], "internal_url": "https://inside.test" }"#;
    std::fs::write(&path, strict).unwrap();
    let provider = read(path.display().to_string()).unwrap().provider;
    assert_eq!(provider.id_token_signed_response_alg.as_deref(), Some("ES256"));
    assert_eq!(provider.internal_url.as_deref(), Some("https://inside.test"));
    assert_eq!((&provider.tenants[..], &provider.trusted_audiences[..]), (&["t1".into()][..], &["api".into()][..]));
    std::fs::write(&path, r#"{ "oauth": {} }"#).unwrap();
    assert!(read(path.display().to_string()).unwrap_err().to_string().contains("unknown field `oauth`"));
    assert!(read(format!("{OP}/nowhere")).unwrap_err().to_string().contains("OIDC_PRESET_FILE"));
}
