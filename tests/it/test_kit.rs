//! What applications test with: a user's issuer, and sessions without a login.

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tower::ServiceExt;
use tower_oidc::{ErrorKind, testing};

use crate::support::app::{OP, World, routes};

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
