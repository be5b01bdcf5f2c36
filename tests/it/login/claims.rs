//! What the ID token says of the login, and of the e-mail address of an admin.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::routing::get;
use serde_json::{Value, json};
use tower_oidc::{Config, CurrentUser, EventCode, FetchUserInfo, LoginDecision};

use crate::support::app::{APP, World, routes};

#[tokio::test]
async fn amr_and_sid_reach_the_hook_and_the_user() {
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let configured = |mut config: Config| {
        config.provider.fetch_user_info = FetchUserInfo::Always;
        let seen = Arc::clone(&seen);
        config.on_login(move |login| {
            seen.lock().unwrap().push(json!([login.claims["amr"], login.claims["sid"]]));
            async { LoginDecision::Allow }
        })
    };
    for world in [World::with(configured), World::stateless_with(configured)] {
        let show = |user: CurrentUser| async move {
            Json(json!([user.amr(), user.sid(), user.claims::<Value>().unwrap()["amr"]]))
        };
        world.serve(routes().route("/login", get(show)));
        world.op.edit_id_token(|jwt| {
            jwt.claim("amr", json!(["pwd", "otp"]));
            jwt.claim("sid", "the sid");
        });
        // UserInfo is about the person, and says nothing about a login.
        world.op.edit_userinfo(|claims| {
            claims.insert("amr".to_owned(), json!(["hwk"]));
            claims.insert("sid".to_owned(), json!("another sid"));
        });
        let browser = world.signed_in("alice").await;
        let shown = browser.navigate(&format!("{APP}/login")).await.json();
        assert_eq!(shown, json!([["pwd", "otp"], "the sid", ["pwd", "otp"]]));
        assert_eq!(seen.lock().unwrap().pop(), Some(json!([["pwd", "otp"], "the sid"])));
    }
    let world = World::new();
    world.op.edit_id_token(|jwt| jwt.without("sid"));
    let show = |user: CurrentUser| async move { Json(json!([user.amr(), user.sid()])) };
    world.serve(routes().route("/login", get(show)));
    let browser = world.signed_in("alice").await;
    assert_eq!(browser.navigate(&format!("{APP}/login")).await.json(), json!([[], null]));
}

/// Alice signs in twice: whether she is an admin, and what is told of her address.
async fn admin(admins: &str, verified: Value) -> (bool, Vec<String>) {
    let world = World::with(|config| config.admins([admins]));
    world.op.user("alice", |user| {
        user.set("email", "Alice@example.com");
        user.set("email_verified", verified);
    });
    world.signed_in("alice").await;
    let browser = world.signed_in("alice").await;
    let is_admin = browser.navigate(&format!("{APP}/admin")).await.status == 200;
    let events = world.app.events.all().into_iter();
    let told = events.filter(|event| event.code == EventCode::AdminUnverified);
    (is_admin, told.map(|event| event.detail).collect())
}

#[tokio::test]
async fn an_unverified_address_of_an_admin_is_told_of_once() {
    let (is_admin, told) = admin("alice@example.com", json!(false)).await;
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert!(!is_admin && told.contains("ADMINS") && told.contains("email_verified"), "{told}");
    assert!(!told.to_lowercase().contains("alice"), "{told}");
    assert_eq!(admin("alice@example.com", json!(true)).await, (true, Vec::new()));
    assert_eq!(admin("bob@example.com", json!(false)).await, (false, Vec::new()));
}
