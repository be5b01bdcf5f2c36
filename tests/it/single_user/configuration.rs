//! For an account: what cannot be kept, or cannot work, is refused at construction by a message that
//! names the fix.

use tower_oidc::store::{MemoryStore, Store};
use tower_oidc::{ClaimSource, ClientAuthMethod, Config, Connection, Mode, OidcLayer, SharedAccount};

use super::app::{Durable, configured, reads_as, refresh_token_of, start};
use crate::support::app::{OP, World};
use crate::support::folder::Folder;

fn refusal(account: SharedAccount, store: impl Store, edit: impl FnOnce(&mut Config)) -> Option<String> {
    let mut config = configured(&World::new());
    edit(&mut config);
    OidcLayer::single_user(config, account, store).err().map(|error| error.to_string())
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_name() {
    let durable = || Durable(MemoryStore::new());
    let operator = SharedAccount::connected_by_admin;
    let refused = refusal(operator(), MemoryStore::new(), |_| ()).unwrap();
    assert!(refused.contains("durable store") && refused.contains("allow_volatile_store"), "{refused}");
    assert_eq!(refusal(operator(), durable(), |_| ()), None);
    assert_eq!(refusal(operator().allow_volatile_store(), MemoryStore::new(), |_| ()), None);

    let refused = refusal(operator(), durable(), |config| config.admins.clear()).unwrap();
    assert!(refused.contains("ADMINS"), "{refused}");
    let by_role = |config: &mut Config| {
        config.admins.clear();
        config.provider = config.provider.clone().roles(ClaimSource::IdToken, "/groups");
        config.admin_roles = vec!["admins".to_owned()];
    };
    assert_eq!(refusal(operator(), durable(), by_role), None);

    for without in [
        |config: &mut Config| config.provider.client_secret = None,
        |config: &mut Config| config.provider.client_auth = Some(ClientAuthMethod::None),
    ] {
        let refused = refusal(SharedAccount::client_credentials(), MemoryStore::new(), without).unwrap();
        assert!(refused.contains("client_secret"), "{refused}");
    }
    assert_eq!(refusal(SharedAccount::client_credentials(), MemoryStore::new(), |_| ()), None);

    let more = |config: &mut Config| config.provider.connections.push(Connection::new("files"));
    let refused = refusal(SharedAccount::refresh_token("rt"), MemoryStore::new(), more).unwrap();
    assert!(refused.contains("files") && !refused.contains("rt\""), "{refused}");
    assert_eq!(refusal(SharedAccount::refresh_token("rt"), MemoryStore::new(), |_| ()), None);
    assert_eq!(refusal(operator(), durable(), more), None);
    assert!(refusal(SharedAccount::refresh_token(""), MemoryStore::new(), |_| ()).unwrap().contains("empty"));
    assert!(refusal(operator().with_name("a b"), durable(), |_| ()).unwrap().contains("\"a b\" is invalid"));
}

/// A secret that is mounted as a file, with the line's end that editors leave.
#[tokio::test]
async fn the_accounts_token_may_stand_in_a_file() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let token = refresh_token_of(&world, "robot").await;
    let folder = Folder::new();
    let path = folder.path().join("token");
    let variables = |name: &str| match name {
        "MODE" => Some("single-user".to_owned()),
        "OIDC_ISSUER" => Some(OP.to_owned()),
        "ACCOUNT" => Some("refresh-token".to_owned()),
        "ACCOUNT_REFRESH_TOKEN_FILE" => Some(path.display().to_string()),
        _ => None,
    };
    let refused = Config::from_env_with(variables).unwrap_err().to_string();
    assert!(refused.contains("ACCOUNT_REFRESH_TOKEN_FILE") && refused.contains("cannot be read"), "{refused}");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    let Mode::SingleUser(account) = Config::from_env_with(variables).unwrap().mode else { panic!("it has an account") };
    assert!(!format!("{account:?}").contains(&token));
    start(&world, account, Durable(MemoryStore::new()), |config| config);
    assert_eq!(reads_as(&world.browser()).await, "robot");
    let both = |name: &str| variables(name).or((name == "ACCOUNT_REFRESH_TOKEN").then(|| token.clone()));
    let refused = Config::from_env_with(both).unwrap_err().to_string();
    assert!(refused.contains("remove one") && !refused.contains(&token), "{refused}");
}

/// With everything else that is wrong, at once.
#[tokio::test]
async fn all_problems_come_at_once() {
    let mut config = configured(&World::new());
    (config.provider.client_id, config.provider.client_secret) = (String::new(), None);
    let refused = OidcLayer::single_user(config, SharedAccount::client_credentials(), MemoryStore::new());
    assert_eq!(refused.expect_err("it is refused").problems().len(), 2);
}

/// The development provider's secret is nobody's to choose.
#[tokio::test]
async fn the_development_provider_needs_no_secret() {
    let config = Config::development(([127, 0, 0, 1], 3000));
    assert!(OidcLayer::single_user(config, SharedAccount::client_credentials(), MemoryStore::new()).is_ok());
}
