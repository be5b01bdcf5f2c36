//! Scenario 48, for an account: what cannot be kept, or cannot work, is refused at construction by a message that
//! names the fix.

use tower_oidc::store::{MemoryStore, Store};
use tower_oidc::{Account, AdminClaim, ClientAuth, Config, Connection, OidcLayer};

use super::app::{Durable, configured};
use crate::support::app::World;

fn refusal(account: Account, store: impl Store, edit: impl FnOnce(&mut Config)) -> Option<String> {
    let mut config = configured(&World::new());
    edit(&mut config);
    OidcLayer::single_user(config, account, store).err().map(|error| error.to_string())
}

#[tokio::test]
async fn scenario_48_what_cannot_be_kept_is_refused_by_name() {
    let durable = || Durable(MemoryStore::new());
    let operator = Account::operator;
    let refused = refusal(operator(), MemoryStore::new(), |_| ()).unwrap();
    assert!(refused.contains("durable store") && refused.contains("forgotten_at_restart"), "{refused}");
    assert_eq!(refusal(operator(), durable(), |_| ()), None);
    assert_eq!(refusal(operator().forgotten_at_restart(), MemoryStore::new(), |_| ()), None);

    let refused = refusal(operator(), durable(), |config| config.admins.clear()).unwrap();
    assert!(refused.contains("ADMINS"), "{refused}");
    let by_claim = |config: &mut Config| {
        config.admins.clear();
        config.admin_claim =
            Some(AdminClaim { name: "groups".into(), value: "admins".into(), provider: None });
    };
    assert_eq!(refusal(operator(), durable(), by_claim), None);

    for without in [
        |config: &mut Config| config.client_secret = None,
        |config: &mut Config| config.client_auth = Some(ClientAuth::None),
    ] {
        let refused = refusal(Account::client_credentials(), MemoryStore::new(), without).unwrap();
        assert!(refused.contains("client_secret"), "{refused}");
    }
    assert_eq!(refusal(Account::client_credentials(), MemoryStore::new(), |_| ()), None);

    let more = |config: &mut Config| config.connections.push(Connection::new("files"));
    let refused = refusal(Account::refresh_token("rt"), MemoryStore::new(), more).unwrap();
    assert!(refused.contains("files") && !refused.contains("rt\""), "{refused}");
    assert_eq!(refusal(Account::refresh_token("rt"), MemoryStore::new(), |_| ()), None);
    assert_eq!(refusal(operator(), durable(), more), None);
    assert!(refusal(Account::refresh_token(""), MemoryStore::new(), |_| ()).unwrap().contains("empty"));
    assert!(refusal(operator().named("a b"), durable(), |_| ()).unwrap().contains("account is called"));
}

/// With everything else that is wrong, at once.
#[tokio::test]
async fn scenario_48_all_problems_come_at_once() {
    let mut config = configured(&World::new());
    (config.client_id, config.client_secret) = (String::new(), None);
    let refused = OidcLayer::single_user(config, Account::client_credentials(), MemoryStore::new());
    assert_eq!(refused.expect_err("it is refused").problems().len(), 2);
}

/// The development provider's secret is nobody's to choose.
#[tokio::test]
async fn the_development_provider_needs_no_secret() {
    let config = Config::development("http://localhost:3000");
    assert!(OidcLayer::single_user(config, Account::client_credentials(), MemoryStore::new()).is_ok());
}
