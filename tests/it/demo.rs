//! The demo without any configuration: up at once, with a provider of its own, used by a script.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Kind;
use crate::support::http::Client;
use crate::support::process::{Demo, demo_refuses};

#[tokio::test]
async fn it_is_up_within_two_seconds_and_logs_in_and_out() {
    // By the processor's time: how long a busy machine holds it up is not the demo's.
    let demo = Demo::start(&[]).await;
    let took = demo.processor_time();
    assert!(took < Duration::from_secs(2), "{took:?}");

    let mut ann = Client::new();
    let form = ann.visit(&demo.at("/auth/login?return_to=/private")).await;
    let page = ann.submit(&form, &[("email", "ann@example.test")]).await;
    assert_eq!((page.url.as_str(), page.status.as_u16()), (&*demo.at("/private"), 200), "{page:?}");
    let me = ann.get(&demo.at("/me")).await.json();
    assert_eq!((&me["email"], &me["admin"]), (&json!("ann@example.test"), &json!(false)));
    assert_eq!(ann.get(&demo.at("/api")).await.json()["sub"], me["sub"]);

    let home = ann.visit(&demo.at("/")).await;
    let landed = ann.click(home.link("/auth/logout")).await;
    assert_eq!((landed.url.as_str(), landed.status.as_u16()), (&*demo.at("/"), 200), "{landed:?}");
    assert_eq!(ann.get(&demo.at("/who")).await.json(), Value::Null);
}

#[tokio::test]
async fn what_it_does_not_know_it_refuses_by_name() {
    for (variable, value) in [("MODE", "no-such-mode"), ("TOKEN_STORE", "tape:/dev/null")] {
        let says = demo_refuses(&[(variable, value)]).await;
        assert!(says.contains(variable) || says.contains(value), "{variable}: {says}");
    }
}

/// What it is given as `TOKEN_STORE` may hold a password.
#[tokio::test]
async fn what_it_says_of_a_store_holds_no_password() {
    for store in ["tape://:hunter2@host", "hunter2", "postgres://u:hunter2@host:port/x", "redis://:hunter2@host/no"] {
        let says = demo_refuses(&[("TOKEN_STORE", store), ("SESSION_SECRET", SECRET)]).await;
        assert!(!says.contains("hunter2"), "{says}");
    }
}

const SECRET: &str = "a sealing secret of the tests of 32 bytes and more";

/// What is sealed with a secret that nobody has any more is lost: beside a store that lasts, the secret must last too.
#[tokio::test]
async fn beside_a_durable_store_a_secret_must_be_a_good_one() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let store = ("TOKEN_STORE", &*database.url);
        for secret in ["", "short", &format!("{SECRET},{SECRET}"), &format!("{SECRET},short")] {
            let says = demo_refuses(&[store, ("SESSION_SECRET", secret)]).await;
            assert!(says.contains("secret") || says.contains("SECRET"), "{kind:?} {secret}: {says}");
            assert!(!says.contains(SECRET), "{kind:?} {secret}: {says}");
        }
        let demo = Demo::start(&[store, ("SESSION_SECRET", SECRET)]).await;
        let mut ann = Client::new();
        let form = ann.visit(&demo.at("/auth/login?return_to=/private")).await;
        let page = ann.submit(&form, &[("email", "ann@example.test")]).await;
        assert_eq!((page.url.as_str(), page.status.as_u16()), (&*demo.at("/private"), 200), "{kind:?}");
    }
    let demo = Demo::start(&[("TOKEN_STORE", "memory")]).await;
    demo.stop().await;
}

/// Without any configuration there is a connection too, with an API of its own.
#[tokio::test]
async fn a_connection_works_out_of_the_box_in_every_mode() {
    for mode in ["per-user", "stateless"] {
        let demo = Demo::start(&[("MODE", mode)]).await;
        let mut ann = Client::new();
        let form = ann.visit(&demo.at("/auth/login?return_to=/")).await;
        let home = ann.submit(&form, &[("email", "ann@example.test")]).await;
        assert!(home.body.contains("not connected"), "{mode}: {}", home.body);
        let asks = ann.click(home.link("/api/calendar")).await;
        let page = ann.submit(&asks, &[("answer", "grant")]).await;
        assert_eq!(page.url.as_str(), demo.at("/api/calendar"), "{mode}: {page:?}");
        let sub = ann.get(&demo.at("/me")).await.json()["sub"].clone();
        assert_eq!(page.json(), json!({ "calendar_of": sub, "scopes": ["openid", "calendar.read"] }));

        let home = ann.visit(&demo.at("/")).await;
        let asks = ann.click(home.link("scope=calendar.write")).await;
        let page = ann.submit(&asks, &[("answer", "grant")]).await;
        assert_eq!(page.json()["scopes"], json!(["openid", "calendar.read", "calendar.write"]), "{mode}");

        let home = ann.visit(&demo.at("/")).await;
        let asks = ann.click(home.link("/auth/disconnect")).await;
        let home = ann.submit(&asks, &[]).await;
        assert!(home.body.contains("not connected"), "{mode}: {}", home.body);
        assert_eq!(ann.get(&demo.at("/api/calendar")).await.status, 403);
        assert_eq!(ann.get(&demo.at("/calendar")).await.status, 401, "the API alone knows nobody");
        assert_eq!(ann.get(&demo.at("/api")).await.json()["sub"], sub);
    }
    let demo = Demo::start(&[("MODE", "single-user")]).await;
    let calendar = Client::new().get(&demo.at("/api/calendar")).await.json();
    assert_eq!(calendar["scopes"], json!(["calendar.read"]), "the application's own: {calendar}");
    let home = Client::new().visit(&demo.at("/")).await;
    assert!(home.body.contains("id=\"connection-calendar\""), "{}", home.body);
    assert!(!home.body.contains("/auth/connect"), "it needs nobody to connect it");
}

#[tokio::test]
async fn a_connection_that_is_not_whole_is_refused_by_name() {
    let named = ("CONNECTIONS", "my-cal");
    for (env, says) in [
        (&[named][..], "CONNECTION_MY_CAL_API_URL"),
        (
            &[named, ("CONNECTION_MY_CAL_API_URL", "http://127.0.0.1:9/x"), ("CONNECTION_MY_CAL_FOR", "everybody")],
            "CONNECTION_MY_CAL_FOR",
        ),
        (&[named, ("CONNECTION_MY_CAL_API_URL", "http://example.test/x")], "my-cal"),
        (
            &[named, ("CONNECTION_MY_CAL_API_URL", "http://127.0.0.1:9/x"), ("CONNECTION_MY_CAL_PROVIDER", "no-such")],
            "no-such",
        ),
    ] {
        let said = demo_refuses(env).await;
        assert!(said.contains(says), "{says}: {said}");
    }
}

/// Without an issuer the demo takes the development provider, which is for this machine alone.
#[tokio::test]
async fn without_an_issuer_it_listens_on_loopback_only() {
    let says = demo_refuses(&[("BIND", "0.0.0.0:0")]).await;
    assert!(says.contains("BIND") && says.contains("OIDC_ISSUER"), "{says}");
}
