//! `/auth/session` says who is signed in, to the application's own scripts, and is no use of the session.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use tower_oidc::{Config, EventCode};

use crate::provider_logout::{MODES, Mode};
use crate::support::app::{APP, EVIL, World};
use crate::support::browser::{Browser, Page};
use crate::support::html::Form;
use crate::support::store::{Trouble, Verb};

const HOUR: Duration = Duration::from_secs(3600);
const SESSION: &str = "https://app.test/auth/session";

async fn asks(browser: &Browser, query: &str) -> Page {
    browser.fetch(Method::GET, &format!("{SESSION}{query}"), "", APP).await
}

async fn subject(browser: &Browser) -> Value {
    let page = asks(browser, "").await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()["user"]["subject"].clone()
}

#[tokio::test]
async fn it_says_who_is_signed_in() {
    for mode in MODES {
        let world = mode.world(|config| config);
        let browser = world.browser();
        let page = asks(&browser, "?return_to=/notes/7").await;
        assert_eq!((page.status.as_u16(), page.header("cache-control")), (200, Some("private, no-store")), "{mode:?}");
        assert_eq!(page.header("content-type"), Some("application/json"));
        assert_eq!(
            page.json(),
            json!({
                "user": null, "logout_url": null, "expires_at": null,
                "login_url": "/auth/login?return_to=%2Fnotes%2F7",
            }),
            "{mode:?}"
        );
        world.op.sign_in_as("alice");
        let landed = browser.visit(&format!("{APP}{}", page.json()["login_url"].as_str().unwrap())).await;
        assert_eq!(landed.path_and_query(), "/notes/7", "{mode:?}");

        let page = asks(&browser, "?return_to=/who").await;
        let said = page.json();
        assert_eq!((&said["user"]["subject"], &said["user"]["name"]), (&json!("a1"), &json!("Alice")), "{mode:?}");
        assert_eq!(said["expires_at"], json!((world.clock.now() + 24 * 3600) * 1000), "{mode:?}");
        assert!(page.header("set-cookie").is_none(), "{mode:?}");
        let logout = said["logout_url"].as_str().unwrap().to_owned();
        assert!(logout.starts_with("/auth/logout?return_to=%2Fwho&token="), "{mode:?}: {logout}");
        // The guide: a form posts to it, or the page goes there.
        let out = browser.settle(browser.submit_from(APP, &Form::post(&format!("{APP}{logout}"), &[])).await).await;
        assert_eq!((out.status.as_u16(), subject(&browser).await), (200, Value::Null), "{mode:?}: {}", out.text());
    }
}

#[tokio::test]
async fn another_site_reads_nothing() {
    for mode in MODES {
        let world = mode.world(|config| config.trusted_origins(["https://www.app.test"]));
        let alice = world.signed_in("alice").await;
        for from in [EVIL, "https://other.app.test"] {
            let page = alice.fetch(Method::GET, SESSION, "", from).await;
            assert_eq!(page.status, 403, "{mode:?} {from}: {}", page.text());
            assert!(!page.text().contains("a1"), "{mode:?} {from}");
        }
        assert_eq!(alice.click_from(EVIL, SESSION).await.status, 403, "{mode:?}: a link");
        assert_eq!(alice.iframe(SESSION, EVIL).await.status, 403, "{mode:?}: a frame");
        assert!(world.app.events.has(EventCode::CrossSiteRefused), "{mode:?}");
        // The controls.
        assert_eq!(subject(&alice).await, "a1", "{mode:?}");
        assert_eq!(alice.navigate(SESSION).await.json()["user"]["subject"], "a1", "{mode:?}: the address bar");
        let trusted = alice.fetch(Method::GET, SESSION, "", "https://www.app.test").await;
        assert_eq!(trusted.json()["user"]["subject"], "a1", "{mode:?}");
    }
}

/// However often it is asked, the session ends a day after the last request to the application.
#[tokio::test]
async fn asking_is_no_use_of_the_session() {
    for mode in MODES {
        let world = mode.world(|config| config);
        let alice = world.signed_in("alice").await;
        let began = world.clock.now();
        for hour in 1..24 {
            world.clock.advance(HOUR);
            let page = asks(&alice, "").await;
            assert_eq!(page.json()["user"]["subject"], "a1", "{mode:?}, hour {hour}");
            assert_eq!(page.json()["expires_at"], json!((began + 24 * 3600) * 1000), "{mode:?}, hour {hour}");
            world.app.layer.drain().await;
        }
        world.clock.advance(HOUR);
        assert_eq!(subject(&alice).await, Value::Null, "{mode:?}");
        assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
        // The control: a request to the application is a use, also beside such questions.
        let alice = world.signed_in("alice").await;
        for hour in 1..30 {
            world.clock.advance(HOUR);
            assert_eq!(subject(&alice).await, "a1", "{mode:?}, hour {hour}");
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}, hour {hour}");
            assert_eq!(subject(&alice).await, "a1", "{mode:?}, hour {hour}");
            world.app.layer.drain().await;
        }
    }
}

/// Nor where a process first learns of the session by it.
#[tokio::test]
async fn asking_another_process_is_no_use_either() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    world.clock.advance(20 * HOUR);
    let _restarted = world.another(|config| config);
    assert_eq!(subject(&alice).await, "a1");
    world.clock.advance(4 * HOUR);
    assert_eq!((subject(&alice).await, world.who(&alice).await), (Value::Null, Value::Null));
}

#[tokio::test]
async fn asking_refreshes_nothing() {
    for mode in MODES {
        let world = mode.world(|config: Config| config.revalidate_every(HOUR));
        let alice = world.signed_in("alice").await;
        world.clock.advance(5 * HOUR);
        assert_eq!(subject(&alice).await, "a1", "{mode:?}");
        world.app.layer.drain().await;
        assert!(world.op.refreshes().is_empty(), "{mode:?}");
        world.who(&alice).await;
        world.app.layer.drain().await;
        assert!(!world.op.refreshes().is_empty(), "{mode:?}: the control");
    }
}

#[tokio::test]
async fn what_else_is_asked_of_it() {
    let world = Mode::PerUser.world(|config| config);
    let alice = world.signed_in("alice").await;
    let page = alice.fetch(Method::POST, SESSION, "", APP).await;
    assert_eq!((page.status.as_u16(), page.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(asks(&alice, "?return_to=https://evil.test/").await.status, 400);
    assert_eq!(alice.prefetch(SESSION).await.status, 204);
    // No browser, no cookie: nobody.
    let answer = world.browser().raw(Request::get(SESSION).body(Bytes::new()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(serde_json::from_slice::<Value>(answer.body()).unwrap()["user"], Value::Null);

    let (store, _app) = world.watched();
    let bob = world.signed_in("bob").await;
    world.clock.advance(Duration::from_secs(60));
    store.trouble(Verb::Load, Trouble::Fail);
    let page = asks(&bob, "").await;
    assert_eq!((page.status.as_u16(), page.json()["code"].clone()), (503, json!("unavailable")), "{}", page.text());
}
