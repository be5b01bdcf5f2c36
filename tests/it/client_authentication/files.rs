//! Assertions that the platform writes into a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tower_oidc::EventCode;

use super::{callback_of, replace, token};
use crate::support::app::{APP, OP, World};
use crate::support::folder::Folder;
use crate::support::provider::CLIENT_ID;
use crate::support::provider::jwt::Draft;
use crate::support::provider::keys::{Alg, Key};

/// The platform's keys, which the provider trusts.
const KEYS: [Key; 2] = [Key { alg: Alg::Es256, generation: 7 }, Key { alg: Alg::Es256, generation: 8 }];

/// What the platform writes at this moment.
fn assertion(world: &World, key: Key, name: &str) -> String {
    let now = world.clock.now();
    let claims = json!({
        "iss": CLIENT_ID, "sub": CLIENT_ID, "aud": OP, "iat": now, "exp": now + 60,
        "jti": format!("assertion of the platform {name}"),
    });
    Draft::new(key, claims).encode()
}

fn world(path: &Path) -> World {
    let world = World::with(|mut config| {
        config.provider.client_secret = None;
        config.provider.client_assertion_file = Some(path.to_owned());
        config
    });
    world.op.set(|settings| {
        settings.auth_methods = vec!["private_key_jwt"];
        settings.reusable_assertions = true;
    });
    world.op.register(CLIENT_ID, None);
    let keys: Vec<Value> = KEYS.iter().map(|key| key.jwk()).collect();
    world.op.register_keys(CLIENT_ID, &json!({ "keys": keys }));
    world
}

/// It is read for each request, so that one that was replaced, and then replaced again, counts at once.
#[tokio::test]
async fn a_file_that_is_replaced_while_requests_run_is_used() {
    let folder = Folder::new();
    let path = folder.path().join("token");
    let world = world(&path);
    fs::write(&path, format!("{}\n", assertion(&world, KEYS[0], "0"))).unwrap();
    let browsers = join_all((0..8).map(|_| world.signed_in("alice"))).await;
    for round in 1..6 {
        world.clock.advance(Duration::from_secs(3601));
        let asked = join_all(browsers.iter().map(async |browser| {
            tokio::task::yield_now().await;
            token(browser).await.status
        }));
        let replaced = async {
            for at in 0..8 {
                replace(&path, &assertion(&world, KEYS[at % 2], &format!("{round}.{at}")));
                tokio::task::yield_now().await;
            }
        };
        replace(&path, &assertion(&world, KEYS[round % 2], &format!("{round}")));
        let (statuses, ()) = tokio::join!(asked, replaced);
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    let used: std::collections::BTreeSet<_> =
        world.op.assertions().iter().map(|one| one.claims["jti"].to_string()).collect();
    assert!(used.len() > 5, "{used:?}");
    assert!(world.op.assertions().iter().all(|one| one.refused.is_none()));
}

/// Nothing was sent: nobody loses a session or a code, and the operator hears which file and which setting.
#[tokio::test]
async fn a_file_that_is_missing_or_empty_ends_nothing() {
    let folder = Folder::new();
    let path = folder.path().join("token");
    let world = world(&path);
    let browser = world.browser();
    let callback = callback_of(&world, &browser).await;
    let page = browser.navigate(&callback).await;
    assert_eq!(page.status, 503, "{}", page.text());
    let told = format!("{:?}", world.app.events.all());
    let names = [path.to_str().unwrap(), "cannot be read", "OIDC_CLIENT_ASSERTION_FILE"];
    assert!(names.iter().all(|name| told.contains(name)), "{told}");
    assert_eq!(world.net.count(OP, "/token"), 0);
    fs::write(&path, assertion(&world, KEYS[0], "first")).unwrap();
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1", "the code was not spent");
    for (text, found) in [("", "is empty"), (" \n", "is empty"), ("no assertion", "holds no JWT")] {
        world.clock.advance(Duration::from_secs(3601));
        replace(&path, text);
        let sent = world.net.count(OP, "/token");
        assert_eq!(token(&browser).await.status, 503);
        assert_eq!(world.net.count(OP, "/token"), sent);
        assert_eq!(world.who(&browser).await, "a1");
        let told = format!("{:?}", world.app.events.all());
        assert!(told.contains(found) && !told.contains("no assertion"), "{told}");
        // So long the outcome of a refresh serves those who ask again.
        world.clock.advance(Duration::from_secs(2));
        replace(&path, &assertion(&world, KEYS[0], found));
        assert_eq!(token(&browser).await.status, 200, "nothing is waited for");
    }
    assert!(!world.app.events.has(EventCode::LogoutRefused));
    assert_eq!(world.op.live_refresh_tokens().len(), 1);
    assert_eq!(world.browser().navigate(&format!("{APP}/auth/jwks.json")).await.status, 404);
}
