//! A login that brings no refresh token, where the provider has a scope for that.

use serde_json::json;
use tower_oidc::{Config, EventCode};

use crate::support::app::World;

/// What is told of two logins.
async fn told(edit: impl FnOnce(Config) -> Config, provider: impl FnOnce(&World)) -> Vec<String> {
    let world = World::with(edit);
    world.op.set(|settings| settings.issue_refresh_tokens = false);
    provider(&world);
    for _ in 0..2 {
        world.signed_in("alice").await;
    }
    let events = world.app.events.all().into_iter();
    events.filter(|event| event.code == EventCode::NoRefreshToken).map(|event| event.detail).collect()
}

#[tokio::test]
async fn a_missing_refresh_token_is_told_of_once() {
    let told = told(|config| config, |_| ()).await;
    let [told] = told.as_slice() else { panic!("{told:?}") };
    for named in ["https://op.test", "offline_access", "OIDC_SCOPES"] {
        assert!(told.contains(named), "{told}");
    }
}

#[tokio::test]
async fn nothing_is_told_where_nothing_is_missing_or_no_scope_would_help() {
    let plain = |config: Config| config;
    assert!(told(plain, |world| world.op.set(|settings| settings.issue_refresh_tokens = true)).await.is_empty());
    let other_scopes = |world: &World| {
        world.op.edit_discovery(|document| document["scopes_supported"] = json!(["openid"]));
    };
    assert!(told(plain, other_scopes).await.is_empty());
    let asks = |mut config: Config| {
        config.provider.scopes.push("offline_access".to_owned());
        config
    };
    assert!(told(asks, |_| ()).await.is_empty());
    let calls_nothing = |mut config: Config| {
        config.provider.resources.clear();
        config
    };
    assert!(told(calls_nothing, |_| ()).await.is_empty());
}
