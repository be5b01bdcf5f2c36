//! What browsers may make an application do that uses its account for everybody, and what caches may keep.

use http::{Method, Request};
use tower_oidc::store::MemoryStore;
use tower_oidc::{EventCode, SharedAccount};

use super::app::{CAL, script, start};
use crate::support::app::{APP, EVIL, World};
use crate::support::html::Form;
use crate::support::store::WatchedStore;

/// Where a request carries no cookie: another site's page does nothing with the account.
#[tokio::test]
async fn another_sites_form_does_not_use_the_account() {
    let world = World::new();
    let app = start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    let browser = world.browser();
    let form = Form::post(CAL, &[]);
    assert_eq!(browser.submit_from(EVIL, &form).await.status, 403);
    assert_eq!(browser.fetch(Method::POST, CAL, "", EVIL).await.status, 403);
    assert_eq!(browser.websocket(CAL, EVIL).await.status, 403);
    assert!(world.api.requests().is_empty());
    assert_eq!(app.events.count(EventCode::CrossSiteRefused), 3);
    assert_eq!(browser.submit_from(APP, &form).await.status, 200, "the control: our own page");
    assert_eq!(world.api.requests().len(), 1);
    assert_eq!(browser.click_from(EVIL, CAL).await.status, 200, "a link to a page is no harm");
    // Scripts and servers say nothing of where they come from, and have no cookie of ours.
    let post = || Request::post(CAL);
    let answer = browser.raw(post().body(bytes::Bytes::new()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    let cookie = "__Host-tower-oidc-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let answer = browser.raw(post().header("cookie", cookie).body(bytes::Bytes::new()).unwrap()).await;
    assert_eq!(answer.status(), 403, "with one there is a browser, which would say it");
}

/// The control: where people have their own tokens, a request without a cookie uses nobody's.
#[tokio::test]
async fn without_an_account_a_request_without_cookies_reaches_its_handler() {
    let world = World::new();
    assert_eq!(world.browser().submit_from(EVIL, &Form::post(CAL, &[])).await.status, 401);
}

/// An anonymous answer is nobody's, and the handler says what caches do with it.
#[tokio::test]
async fn only_what_is_personal_is_private() {
    let world = World::new();
    start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    let page = script(&world.browser(), CAL).await;
    assert_eq!((page.status.as_u16(), page.header("cache-control")), (200, None));
    let page = script(&world.signed_in("bob").await, CAL).await;
    assert_eq!((page.status.as_u16(), page.header("cache-control")), (200, Some("private, no-store")));
}

/// Whoever signs in is asked who they are, and nothing of theirs is kept but that.
#[tokio::test]
async fn visitors_sign_in_without_granting_anything() {
    let world = World::new();
    let store = WatchedStore::new(MemoryStore::new());
    start(&world, SharedAccount::client_credentials(), store.clone(), |mut config| {
        config.provider.scopes.push("offline_access".into());
        config
    });
    let bob = world.signed_in("bob").await;
    let asked = world.op.last_authorization();
    assert_eq!(asked.get("scope"), Some("openid email profile"));
    assert!(asked.all("resource").is_empty());
    assert_eq!(script(&bob, &format!("{APP}/private")).await.json()["sub"], "b1");
    assert!(world.op.revocations().is_empty());
    assert_eq!(store.dump().await.len(), 3, "the index key, that a login was received, and its session");
    let anonymous = script(&world.browser(), &format!("{APP}/private")).await;
    assert_eq!(anonymous.status, 401, "a page that needs somebody still does");
}
