//! What is wrong with keys and assertions is told when the layer is made.

use std::fs;

use tower_oidc::store::MemoryStore;
use tower_oidc::{ClientAuthMethod, Config, Mode, OidcLayer, PrivateKey, ProviderConfig, SharedAccount};

use super::{RSA, p256, text};
use crate::support::app::{APP, OP};
use crate::support::folder::Folder;

fn made(edit: impl FnOnce(&mut Config)) -> Result<OidcLayer, String> {
    let mut config = Config::new(APP, ProviderConfig::new(OP, "app"));
    edit(&mut config);
    OidcLayer::from_config(config, MemoryStore::new()).map_err(|error| error.to_string())
}

#[test]
fn mistakes_are_named_with_their_remedy() {
    type Edit = Box<dyn FnOnce(&mut ProviderConfig)>;
    let folder = Folder::new();
    let file = folder.path().join("key.pem");
    fs::write(&file, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
    let mistakes: Vec<(Edit, &[&str])> = vec![
        (
            Box::new(|provider| provider.private_keys = vec![PrivateKey::File("/does/not/exist.pem".into())]),
            &["/does/not/exist.pem: No such file", "OIDC_PRIVATE_KEY_FILE"],
        ),
        (
            Box::new(move |provider| provider.private_keys = vec![PrivateKey::File(file)]),
            &["key.pem: is not accepted", "P-256"],
        ),
        (
            Box::new(|provider| {
                provider.private_keys = vec![text(&p256())];
                provider.token_endpoint_auth_signing_alg = Some("PS256".to_owned());
            }),
            &["is one for ES256, and the algorithm is \"PS256\""],
        ),
        (
            Box::new(|provider| provider.client_auth = Some(ClientAuthMethod::PrivateKeyJwt)),
            &["client_auth is PrivateKeyJwt", "OIDC_PRIVATE_KEY_FILE"],
        ),
        (
            Box::new(|provider| provider.client_auth = Some(ClientAuthMethod::AssertionFile)),
            &["client_auth is AssertionFile", "OIDC_CLIENT_ASSERTION_FILE"],
        ),
        (
            Box::new(|provider| {
                provider.issuer = "https://op.test/organizations/v2.0".to_owned();
                provider.any_tenant = true;
                provider.private_keys = vec![text(&p256())];
            }),
            &["client_assertion_audience is missing", "OIDC_CLIENT_ASSERTION_AUDIENCE"],
        ),
    ];
    for (edit, words) in mistakes {
        let error = made(|config| edit(&mut config.provider)).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
}

/// The control: keys in each form, and a file that the platform has not written yet. A key is as good as a secret for the
/// application's own account.
#[test]
fn what_is_right_is_accepted() {
    let edits: Vec<Box<dyn FnOnce(&mut ProviderConfig)>> = vec![
        Box::new(|provider| provider.private_keys = vec![text(RSA), text(&p256())]),
        Box::new(|provider| {
            provider.private_keys = vec![text(RSA)];
            provider.token_endpoint_auth_signing_alg = Some("PS256".to_owned());
        }),
        Box::new(|provider| provider.client_assertion_file = Some("/not/written/yet".into())),
        Box::new(|provider| {
            provider.issuer = "https://op.test/organizations/v2.0".to_owned();
            provider.any_tenant = true;
            provider.private_keys = vec![text(&p256())];
            provider.client_assertion_audience = Some("https://op.test/token".to_owned());
        }),
    ];
    for edit in edits {
        made(|config| {
            edit(&mut config.provider);
            config.mode = Mode::SingleUser(SharedAccount::client_credentials());
        })
        .unwrap();
    }
    let public = made(|config| config.mode = Mode::SingleUser(SharedAccount::client_credentials())).unwrap_err();
    assert!(public.contains("needs a client_secret"), "{public}");
}

/// The variables, for a provider with a name, too.
#[test]
fn the_environment_names_files() {
    let variables = [
        ("OIDC_ISSUER", OP),
        ("OIDC_CLIENT_ID", "app"),
        ("OIDC_PRIVATE_KEY_FILE", "/keys/new.pem, /keys/old.pem"),
        ("OIDC_TOKEN_ENDPOINT_AUTH_SIGNING_ALG", "PS256"),
        ("OIDC_PROVIDERS", "work"),
        ("OIDC_WORK_ISSUER", "https://work.test"),
        ("OIDC_WORK_CLIENT_ID", "app"),
        ("OIDC_WORK_CLIENT_ASSERTION_FILE", "/var/run/token"),
        ("OIDC_WORK_CLIENT_ASSERTION_AUDIENCE", "https://work.test/token"),
        ("OIDC_WORK_CLIENT_AUTH_METHOD", "assertion_file"),
    ];
    let read = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let config = Config::from_env_with(read).unwrap();
    let shown = format!("{:?}", config.provider.private_keys);
    assert_eq!(shown, r#"[File("/keys/new.pem"), File("/keys/old.pem")]"#);
    assert_eq!(config.provider.token_endpoint_auth_signing_alg.as_deref(), Some("PS256"));
    let work = &config.more_providers[0];
    assert_eq!(work.client_assertion_file.as_deref(), Some("/var/run/token".as_ref()));
    assert_eq!(work.client_assertion_audience.as_deref(), Some("https://work.test/token"));
    assert_eq!(work.client_auth, Some(ClientAuthMethod::AssertionFile));
    let error = OidcLayer::from_config(config, MemoryStore::new()).unwrap_err().to_string();
    assert!(error.contains("/keys/new.pem: No such file"), "{error}");
}
