//! The application's say at login, and what it is told.

use axum::Json;
use axum::routing::get;
use serde_json::{Map, Value, json};
use tower_oidc::{ClaimSource, CurrentUser, EventCode, LoginDecision};

use super::{Untouched, assert_refused, callback_of, login, who};
use crate::support::app::{APP, OP, World, routes};

fn claims(value: Value) -> Map<String, Value> {
    let Value::Object(claims) = value else { panic!("an object") };
    claims
}

#[tokio::test]
async fn the_hook_refuses() {
    let world = World::with(|mut config| {
        config.provider.revocation_is_per_token = true;
        config.on_login(|login| async move {
            assert_eq!(login.issuer, OP);
            match login.claims["email"].as_str() {
                Some("alice@example.com") => LoginDecision::Deny("Not you, <script>Alice</script>.".to_owned()),
                _ => LoginDecision::Allow,
            }
        })
    });
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let page = browser.visit(&login("/who")).await;
    assert_refused(&browser, &page, 403, "vetoed");
    assert!(page.text().contains("Not you, &lt;script&gt;Alice"), "{}", page.text());
    assert_eq!(world.app.store.len(), 2, "the index key and the spent login");
    assert_eq!(world.op.revocations()[0].owner.as_deref(), Some("alice"));
    assert!(world.op.live_refresh_tokens().is_empty(), "the fresh tokens are revoked");
    let refused = world.app.events.all().pop().unwrap();
    assert_eq!(refused.code, EventCode::LoginRefused);
    assert!(refused.detail.starts_with("the login hook denied the login: Not you"), "{}", refused.detail);
    world.signed_in("bob").await;
    assert_eq!(world.op.revocations().len(), 1);
}

/// A veto in a browser that is signed in as somebody else leaves that session alone.
#[tokio::test]
async fn a_refused_person_replaces_nobody() {
    let world = World::with(|config| {
        config.on_login(|login| async move {
            if login.subject == "a1" { LoginDecision::Deny("no".to_owned()) } else { LoginDecision::Allow }
        })
    });
    let browser = world.signed_in("bob").await;
    world.op.sign_in_as("alice");
    assert_eq!(browser.visit(&login("/who")).await.status, 403);
    assert_eq!(who(&browser).await.as_deref(), Some("b1"));
}

/// What the hook adds is seen by handlers. Who the person is stays what the provider said.
#[tokio::test]
async fn the_hook_enriches() {
    let world = World::with(|mut config| {
        config.provider = config.provider.roles(ClaimSource::LoginHook, "/role");
        config.admin_roles(["boss"]).on_login(|_| async {
            LoginDecision::AllowWith(claims(
                json!({ "role": "boss", "name": "A. Lice", "sub": "b1", "iss": "https://evil.test" }),
            ))
        })
    });
    let routes =
        routes().route("/claims", get(|user: CurrentUser| async move { Json(user.claims::<Value>().unwrap()) }));
    world.net.serve_service(APP, world.app.layer.layer(routes));
    let browser = world.signed_in("alice").await;
    let seen = browser.navigate(&format!("{APP}/claims")).await.json();
    assert_eq!(
        (&seen["role"], &seen["name"], &seen["email"]),
        (&json!("boss"), &json!("A. Lice"), &json!("alice@example.com"))
    );
    let who = browser.navigate(&format!("{APP}/who")).await.json();
    assert_eq!((&who["sub"], &who["issuer"], &who["name"]), (&json!("a1"), &json!(OP), &json!("A. Lice")));
    assert_eq!(browser.navigate(&format!("{APP}/admin")).await.status, 200);
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200, "and the tokens are theirs");
}

#[tokio::test]
async fn a_hook_that_panics_fails_the_login() {
    let world = World::with(|config| {
        config.on_login(|login| async move {
            assert_ne!(login.subject, "a1", "a panic of the tests");
            LoginDecision::Allow
        })
    });
    world.op.sign_in_as("alice");
    let browser = world.browser();
    assert_refused(&browser, &browser.visit(&login("/who")).await, 500, "panicked");
    assert_eq!(world.app.store.len(), 2);
    assert_eq!(world.app.events.count(EventCode::LoginRefused), 1);
    world.app.layer.drain().await;
    world.signed_in("bob").await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_never_answers_fails_the_login() {
    let world = World::with(|config| config.on_login(|_| std::future::pending()));
    world.op.sign_in_as("alice");
    let browser = world.browser();
    assert_refused(&browser, &browser.visit(&login("/who")).await, 503, "too slow");
    assert_eq!(world.app.store.len(), 2);
}

/// The hook sees nobody whose ID token does not hold.
#[tokio::test]
async fn the_hook_is_asked_after_verification_and_before_anything_is_stored() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = asked.clone();
    let count = || asked.load(std::sync::atomic::Ordering::SeqCst);
    let world = World::with(|config| {
        config.on_login(move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { LoginDecision::Allow }
        })
    });
    world.op.sign_in_as("alice");
    for lie in ["nonce wrong", "signature spoiled"] {
        world.op.lie(lie);
        let browser = world.browser();
        let callback = callback_of(&browser, &login("/who")).await;
        let before = Untouched::now(&world);
        assert_refused(&browser, &browser.navigate(&callback).await, 400, lie);
        let after = Untouched::now(&world);
        assert_eq!(after.exchanges, before.exchanges + 1);
        assert!(after.rows <= before.rows + 2, "{lie}: nothing but the spent login and the index key");
    }
    assert_eq!(count(), 0);
    world.op.honest();
    world.signed_in("alice").await;
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn events_tell_the_story() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let links = browser.navigate(&format!("{APP}/links?to=/")).await.json();
    browser.visit(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
    browser.navigate(&format!("{APP}/auth/callback?state=AAAAAAAAAAAA&code=x")).await;
    let told: Vec<_> = world.app.events.all().into_iter().map(|event| (event.code.as_str(), event.user)).collect();
    let alice = Some((OP.to_owned(), "a1".to_owned()));
    assert_eq!(
        told,
        [
            ("provider.metadata", None),
            ("login.started", None),
            ("provider.key_set", None),
            ("login.succeeded", alice.clone()),
            ("logout.succeeded", alice),
            ("login.refused", None),
        ]
    );
    let secrets = world.op.secrets();
    for event in world.app.events.all() {
        assert!(!secrets.iter().any(|secret| event.detail.contains(secret.as_str())), "{event:?}");
    }
}
