//! The demo without any configuration: up at once, with a provider of its own, used by a script.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::database::Kind;
use crate::support::http::Client;
use crate::support::process::{Demo, demo_refuses};

#[tokio::test]
async fn it_is_up_within_two_seconds_and_logs_in_and_out() {
    let started = Instant::now();
    let demo = Demo::start(&[]).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

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
    for store in
        ["tape://:hunter2@host", "hunter2", "postgres://u:hunter2@host:port/x", "redis://:hunter2@host/no"]
    {
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
