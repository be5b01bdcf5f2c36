//! A person signs in: scenarios 1 to 4, 8 to 17, 20 to 22, 24 to 27.

use crate::support::app::{APP, OP, World};

/// The whole way: sign in, be known, call the API, sign out.
#[tokio::test]
async fn a_person_signs_in_calls_an_api_and_signs_out() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let who = browser.navigate(&format!("{APP}/who")).await.json();
    assert_eq!((who["sub"].as_str(), who["issuer"].as_str()), (Some("a1"), Some(OP)));
    let fetched = browser.navigate(&format!("{APP}/fetch?u=https://api.test/cal/x")).await;
    assert_eq!(
        (fetched.status.as_u16(), fetched.json()["owner"].as_str().map(str::to_owned)),
        (200, Some("alice".into())),
        "{}",
        fetched.text()
    );
    let links = browser.navigate(&format!("{APP}/links?to=/bye")).await.json();
    let out = browser.visit(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
    assert_eq!(out.url.as_str(), "https://app.test/bye");
    assert_eq!(browser.navigate(&format!("{APP}/who")).await.text(), "null");
}
