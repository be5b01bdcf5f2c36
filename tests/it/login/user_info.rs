//! When a login asks UserInfo, and which logins fail without its answer.

use serde_json::{Value, json};
use tower_oidc::{Config, FetchUserInfo, LoginDecision};

use super::{login, who};
use crate::support::app::World;
use crate::support::provider::Endpoint;

/// The ID token names these of `email` and `name` alone.
fn named_in_id_token(world: &World, named: &'static [&'static str]) {
    world.op.edit_id_token(move |jwt| {
        ["email", "name"].iter().filter(|claim| !named.contains(claim)).for_each(|claim| jwt.without(claim));
    });
}

#[tokio::test]
async fn a_scope_whose_claim_is_missing_asks_for_it() {
    for (scopes, named, calls) in [
        (&["email", "profile"][..], &["email", "name"][..], 0),
        (&["email", "profile"], &["email"], 1),
        (&["email", "profile"], &["name"], 1),
        (&["email"], &["email"], 0),
        (&["profile"], &["name"], 0),
        (&["email"], &["name"], 1),
        (&["profile"], &["email"], 1),
        (&[], &[], 0),
    ] {
        let world = World::with(|mut config| {
            config.provider.scopes = ["openid"].iter().chain(scopes).map(|&scope| scope.to_owned()).collect();
            config
        });
        named_in_id_token(&world, named);
        let alice = world.signed_in("alice").await;
        assert_eq!(world.op.userinfo_calls(), calls, "{scopes:?} {named:?}");
        assert_eq!(who(&alice).await.as_deref(), Some("a1"));
    }
}

/// A login that is decided by what UserInfo says waits for another try; any other one goes on without.
#[tokio::test]
async fn a_login_fails_without_what_decides_it() {
    type Edit = fn(Config) -> Config;
    let plain: Edit = |config| config;
    let always: Edit = |mut config| {
        config.provider.fetch_user_info = FetchUserInfo::Always;
        config
    };
    let hook: Edit = |config| config.on_login(|_| async { LoginDecision::Allow });
    let admins: Edit = |config| config.admins(["root@example.com"]);
    for (why, edit, named, is_in) in [
        ("nothing is decided by it", plain, &["email"][..], true),
        ("it is always asked", always, &["email", "name"], false),
        ("the login hook decides by all claims", hook, &["email"], false),
        ("the hook has all claims", hook, &["email", "name"], true),
        ("an admin's address is missing", admins, &["name"], false),
        ("an admin's address is there", admins, &["email"], true),
    ] {
        let world = World::with(edit);
        named_in_id_token(&world, named);
        world.op.sign_in_as("alice");
        world.op.answer_error(Endpoint::FetchUserInfo, 503, "temporarily_unavailable");
        let browser = world.browser();
        let page = browser.visit(&login("/who")).await;
        assert_eq!(page.status.as_u16(), if is_in { 200 } else { 503 }, "{why}: {}", page.text());
        assert_eq!(world.who(&browser).await, if is_in { json!("a1") } else { Value::Null }, "{why}");
        // The control: UserInfo is there again.
        world.op.honest();
        named_in_id_token(&world, named);
        assert_eq!(browser.visit(&login("/who")).await.status, 200, "{why}");
        assert_eq!(world.who(&browser).await, "a1", "{why}");
    }
}
