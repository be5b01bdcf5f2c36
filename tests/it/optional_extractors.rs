//! Extractors that may be absent: `None` is a request that is anonymous, and nothing else.

use axum::Router;
use axum::routing::get;
use http::{Method, Response};
use tower_oidc::{Admin, Config, Connection, ErrorKind, EventCode, Resource, SharedAccount, UserTokens};

use crate::single_user::app::start;
use crate::support::app::{API, APP, World};
use crate::support::browser::{Browser, Page};
use crate::support::store::Trouble;
use tower_oidc::store::MemoryStore;

fn routes() -> Router {
    let tokens = |tokens: Option<UserTokens>| async move {
        match tokens {
            None => "nobody".to_owned(),
            Some(tokens) => {
                let token = tokens.access_token(&format!("{API}/cal/")).await;
                token.map_or_else(|error| error.kind().code().to_owned(), |_| "a token".to_owned())
            }
        }
    };
    let admin =
        |admin: Option<Admin>| async move { admin.map_or("nobody".to_owned(), |admin| admin.subject().to_owned()) };
    crate::support::app::routes().route("/maybe-tokens", get(tokens)).route("/maybe-admin", get(admin))
}

fn with_admin(mut config: Config) -> Config {
    config.admins = vec!["bob@example.com".into()];
    config
}

async fn asked(browser: &Browser, path: &str) -> Page {
    browser.fetch(Method::GET, &format!("{APP}{path}"), "", APP).await
}

#[tokio::test]
async fn none_is_for_anonymous_requests_alone() {
    for world in [World::with(with_admin), World::stateless_with(with_admin)] {
        world.serve(routes());
        let (nobody, alice, bob) = (world.browser(), world.signed_in("alice").await, world.signed_in("bob").await);
        for (path, expected) in [
            ("/maybe-tokens", [(200, "nobody"), (200, "a token"), (200, "a token")]),
            ("/maybe-admin", [(200, "nobody"), (403, "forbidden"), (200, "b1")]),
        ] {
            for (browser, (status, text)) in [&nobody, &alice, &bob].into_iter().zip(expected) {
                let page = asked(browser, path).await;
                assert_eq!(page.status, status, "{path}");
                match status {
                    200 => assert_eq!(page.text(), text, "{path}"),
                    _ => assert_eq!(page.json()["code"], text, "{path}"),
                }
            }
        }
    }
}

/// Whoever may be absent is sent nowhere: the answer that the application has for it is not asked for.
#[tokio::test]
async fn an_anonymous_request_is_not_sent_to_the_login() {
    let world =
        World::with(|config| config.on_unauthenticated(|_| -> Response<bytes::Bytes> { panic!("nobody is refused") }));
    world.serve(routes());
    for path in ["/maybe-tokens", "/maybe-admin"] {
        for _ in 0..4 {
            assert_eq!(world.browser().navigate(&format!("{APP}{path}")).await.text(), "nobody");
        }
    }
    assert!(!world.app.events.has(EventCode::LayerMisplaced));
}

#[tokio::test]
async fn a_missing_layer_is_an_error() {
    let world = World::new();
    world.net.serve_service(APP, routes());
    for path in ["/maybe-tokens", "/maybe-admin"] {
        let page = asked(&world.browser(), path).await;
        assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (500, Some("missing_layer")));
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error() {
    let world = World::with(with_admin);
    let bob = world.signed_in("bob").await;
    let (store, app) = world.watched_with(with_admin);
    world.net.serve_service(APP, app.layer.layer(routes()));
    store.break_down(&Trouble::Fail);
    for path in ["/maybe-tokens", "/maybe-admin"] {
        let page = asked(&bob, path).await;
        assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (503, Some("unavailable")));
    }
    store.heal();
    assert_eq!(asked(&bob, "/maybe-tokens").await.text(), "a token");
    assert_eq!(asked(&bob, "/maybe-admin").await.text(), "b1");
}

/// The account's tokens are there for everybody, and a browser that is a visitor has its own.
#[tokio::test]
async fn tokens_that_need_nobody_are_there_for_the_anonymous() {
    let world = World::new();
    let app = start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    world.net.serve_service(APP, app.layer.layer(routes()));
    assert_eq!(asked(&world.browser(), "/maybe-tokens").await.text(), "a token");
    assert_eq!(asked(&world.browser(), "/maybe-admin").await.text(), "nobody");

    let photos = || Resource::new("photos", format!("{API}/photos/")).scope("photos");
    let world = World::with(|config| config.connection(Connection::new("photos").resource(photos()).allow_visitors()));
    world.serve(routes());
    let asked_for = asked(&world.browser(), "/maybe-tokens").await.text();
    assert_eq!(asked_for, ErrorKind::Unauthenticated.code(), "visitors have none of the login's");
}
