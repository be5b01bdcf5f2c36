//! What applications test with: a user's issuer, sessions without a login, and whole logins without a browser.

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tower::ServiceExt;
use tower_oidc::dev_provider::ScriptedLogin;
use tower_oidc::store::MemoryStore;
use tower_oidc::{ErrorKind, LoginDecision, OidcLayer, testing};

use crate::support::app::{OP, World, routes};

const LOCAL: &str = "http://localhost:3000";

async fn who(app: axum::Router, cookie: &str) -> Value {
    let request = Request::get("/who").header("host", "localhost:3000").header("cookie", cookie);
    let answer = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn the_issuer_of_a_chosen_user() {
    let ann = || testing::as_user("ann").token("https://api.example.org/", "anns");
    for (layer, issuer) in
        [(ann(), "https://provider.example"), (ann().issuer("https://id.example.org"), "https://id.example.org")]
    {
        let about = who(routes().layer(layer), "").await;
        assert_eq!((about["sub"].as_str(), about["issuer"].as_str()), (Some("ann"), Some(issuer)));
    }
}

#[tokio::test]
async fn a_session_needs_an_issuer_of_the_configuration() {
    for world in [World::new(), World::stateless()] {
        let layer = &world.app.layer;
        for issuer in ["https://elsewhere.test", "", "https://op.test/"] {
            let error = testing::start_session(layer, issuer, "ann", Map::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSuchConnection, "{issuer:?}");
            let with = testing::start_session_with_tokens(layer, issuer, "ann", Map::new(), "access", "refresh");
            assert_eq!(with.await.unwrap_err().kind(), ErrorKind::NoSuchConnection, "{issuer:?}");
        }
        let cookie = testing::start_session(layer, OP, "ann", Map::new()).await.unwrap();
        assert_eq!(who(routes().layer(layer.clone()), &cookie).await["sub"], "ann", "the control");
    }
}

/// The hook runs, the provider can say no, and what comes back signs a browser in, in both kinds of sessions.
#[tokio::test]
async fn a_whole_login() {
    let config = || {
        testing::development_config(LOCAL).on_login(|login| async move {
            match login.claims["email"].as_str() {
                Some("eve@example.org") => LoginDecision::Deny("Eve is not invited.".to_owned()),
                _ => LoginDecision::Allow,
            }
        })
    };
    let person = |email: &str, admin| ScriptedLogin::SignIn { email: email.into(), admin };
    for stateless in [false, true] {
        let store = MemoryStore::new();
        let layer =
            if stateless { OidcLayer::stateless(config(), store) } else { OidcLayer::per_user(config(), store) };
        let layer = layer.unwrap();
        let ann = testing::log_in(&layer, person("ann@example.org", false)).await.unwrap();
        let bob = testing::log_in(&layer, person("bob@example.org", true)).await.unwrap();
        for (cookie, email, admin) in [(ann, "ann@example.org", false), (bob, "bob@example.org", true)] {
            let about = who(routes().layer(layer.clone()), &cookie).await;
            assert_eq!((&about["email"], &about["admin"]), (&Value::from(email), &Value::from(admin)));
            assert!(!cookie.contains("login-"), "the login is over: {cookie}");
        }
        let (status, page) = testing::log_in(&layer, person("eve@example.org", false)).await.unwrap_err();
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(page.contains("Eve is not invited."), "{page}");
        let (status, page) = testing::log_in(&layer, ScriptedLogin::Deny).await.unwrap_err();
        assert!(status == StatusCode::FORBIDDEN && page.contains("Access was denied."), "{status} {page}");
    }
}
