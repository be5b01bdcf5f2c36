//! `private_key_jwt`: the provider verifies each assertion with the keys that the application publishes.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use http::{Method, Request};
use serde_json::{Value, json};
use tower_oidc::{EventCode, PrivateKey, ProviderConfig, PushedAuthorizationRequests};

use super::{RSA, callback_of, ed25519, key_set, p256, read_keys, registered, replace, text, token, with_keys};
use crate::leaks::Log;
use crate::support::app::{APP, OP, OP2, World, logout_link};
use crate::support::folder::Folder;
use crate::support::provider::CLIENT_ID;

/// Token, pushed request, refresh and revocation: the provider has verified each, and none came twice.
#[tokio::test]
async fn each_request_has_an_assertion_of_its_own() {
    for (key, algorithm) in
        [(RSA.to_owned(), "RS256"), (RSA.to_owned(), "PS256"), (p256(), "ES256"), (ed25519(), "EdDSA")]
    {
        let world = World::with(|config| {
            let mut config = with_keys([text(&key)])(config);
            config.provider.token_endpoint_auth_signing_alg = Some(algorithm.to_owned());
            config.provider.pushed_authorization_requests = PushedAuthorizationRequests::Always;
            config.provider.revoke_at_logout = true;
            config
        });
        read_keys(&world).await;
        world.op.set(|settings| settings.pushed_authorization = true);
        let alice = world.signed_in("alice").await;
        world.clock.advance(Duration::from_secs(3601));
        assert_eq!(token(&alice).await.status, 200, "{algorithm}");
        alice.visit(&logout_link(&alice, "/").await).await;
        world.app.layer.drain().await;
        let assertions = world.op.assertions();
        let at: Vec<_> = assertions.iter().map(|one| (one.at.as_str(), one.refused)).collect();
        assert_eq!(at, [("/par", None), ("/token", None), ("/token", None), ("/revoke", None)], "{algorithm}");
        let published = &key_set(&world).await["keys"][0];
        for one in &assertions {
            let header = [&one.header["alg"], &one.header["kid"]];
            assert_eq!(header, [&json!(algorithm), &published["kid"]]);
            let claims = ["iss", "sub", "aud"].map(|name| one.claims[name].as_str().unwrap());
            assert_eq!(claims, [CLIENT_ID, CLIENT_ID, OP]);
            assert_eq!(one.claims["exp"].as_u64().unwrap() - one.claims["iat"].as_u64().unwrap(), 60);
        }
        let names: BTreeSet<_> = assertions.iter().map(|one| one.claims["jti"].as_str()).collect();
        assert_eq!(names.len(), 4);
        for path in ["/par", "/token", "/revoke"] {
            for sent in world.net.requests_to(OP, path) {
                let form = sent.form();
                assert!(!form.has("client_secret") && sent.header("authorization").is_none());
                assert_eq!(form.all("client_id"), [CLIENT_ID], "{path}");
            }
        }
    }
}

/// Nobody is signed out by a mistake of the operator. When it is mended, everything goes on.
#[tokio::test]
async fn a_wrong_key_ends_no_session() {
    let world = registered([text(&p256())]).await;
    let alice = world.signed_in("alice").await;
    let right = key_set(&world).await;
    let other = World::with(with_keys([text(&p256())]));
    let mut wrong = key_set(&other).await;
    wrong["keys"][0]["kid"] = right["keys"][0]["kid"].clone();
    world.op.register_keys(CLIENT_ID, &wrong);
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(token(&alice).await.status, 503);
    let outcome = world.op.refreshes().pop().unwrap().outcome;
    assert_eq!(outcome, Err("invalid_client".to_owned()));
    assert_eq!(world.op.assertions().pop().unwrap().refused, Some("the signature does not hold"));
    assert_eq!(world.who(&alice).await, "a1");
    world.op.sign_in_as("bob");
    assert_eq!(world.browser().visit(&format!("{APP}/auth/login")).await.status, 502);
    let told = format!("{:?}", world.app.events.all());
    assert!(told.contains("(private_key_jwt) answered 401, invalid_client"), "{told}");
    world.op.register_keys(CLIENT_ID, &right);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(token(&alice).await.status, 200);
    assert_eq!(world.who(&alice).await, "a1");
}

/// The issuer is the audience, because the application names no other by itself. Some providers want their token endpoint.
#[tokio::test]
async fn the_audience_is_the_issuer_unless_another_is_configured() {
    for (audience, status) in [(None, 502), (Some(format!("{OP}/token")), 200)] {
        let world = World::with(|config| {
            let mut config = with_keys([text(&p256())])(config);
            config.provider.client_assertion_audience = audience;
            config
        });
        read_keys(&world).await;
        world.op.set(|settings| settings.assertion_audience = Some(format!("{OP}/token")));
        world.op.sign_in_as("alice");
        let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.status, status);
    }
}

/// A new key in a file is published at once. It signs when providers know it, also those that do not read the key set again
/// for an unknown key; the one before it is published on. So nothing that is under way fails.
#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_one_before_afterwards() {
    let (five_minutes, an_hour) = (Duration::from_secs(300), Duration::from_secs(3601));
    let folder = Folder::new();
    let path = folder.path().join("key.pem");
    let (first, second) = (p256(), ed25519());
    fs::write(&path, &first).unwrap();
    let world = registered([PrivateKey::File(path.clone())]).await;
    let alice = world.signed_in("alice").await;
    let old = key_set(&world).await["keys"][0].clone();
    let last_signed = || world.op.assertions().pop().unwrap().header["kid"].clone();
    let browser = world.browser();
    let callback = callback_of(&world, &browser).await;
    replace(&path, &second);
    // The provider has not read it yet.
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
    assert_eq!(last_signed(), old["kid"]);
    let published = key_set(&world).await;
    let new = published["keys"].as_array().unwrap().iter().find(|key| **key != old).unwrap().clone();
    assert_eq!((published["keys"].as_array().unwrap().len(), &new["kty"]), (2, &json!("OKP")));
    world.clock.advance(five_minutes - Duration::from_secs(1));
    world.signed_in("bob").await;
    assert_eq!(last_signed(), old["kid"]);
    // Begun with the old key, ended with the new one.
    let browser = world.browser();
    let callback = callback_of(&world, &browser).await;
    world.op.register_keys(CLIENT_ID, &published);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
    assert_eq!(last_signed(), new["kid"]);
    assert_eq!(key_set(&world).await["keys"], json!([new, old]));
    // Half of a file is no key: those that are there go on, and the operator hears of it.
    for broken in [second[..80].to_owned(), String::new()] {
        replace(&path, &broken);
        world.clock.advance(an_hour);
        assert_eq!(token(&alice).await.status, 200, "{broken}");
    }
    fs::remove_file(&path).unwrap();
    world.clock.advance(an_hour);
    assert_eq!((token(&alice).await.status.as_u16(), last_signed()), (200, new["kid"].clone()));
    let told = format!("{:?}", world.app.events.all());
    assert!(told.contains("key.pem: is missing") && told.contains("key.pem: No such file"), "{told}");
    // A third: the first is published no more.
    replace(&path, &p256());
    let third = key_set(&world).await;
    assert_eq!((third["keys"].as_array().unwrap().len(), &third["keys"][0]), (2, &new));
}

/// The same by a restart: the new key stands before the old one.
#[tokio::test]
async fn a_login_that_began_before_a_restart_with_a_new_key_ends_well() {
    let (old, new) = (p256(), p256());
    let mut world = registered([text(&old)]).await;
    let browser = world.browser();
    let callback = callback_of(&world, &browser).await;
    let before = key_set(&world).await["keys"][0].clone();
    world.app = world.another(with_keys([text(&new), text(&old)]));
    let published = key_set(&world).await;
    assert_eq!((published["keys"].as_array().unwrap().len(), &published["keys"][1]), (2, &before));
    read_keys(&world).await;
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
    assert_eq!(world.op.assertions().pop().unwrap().header["kid"], published["keys"][0]["kid"]);
}

/// The key set is for everybody. Without keys there is none.
#[tokio::test]
async fn the_key_set_is_public() {
    let same = p256();
    let world = World::with(|config| {
        let config = with_keys([text(&same)])(config);
        let second = ProviderConfig::new(OP2, CLIENT_ID).name("second").private_key(text(&same));
        config.add_provider(second.private_key(text(RSA)))
    });
    let call = async |method: Method| {
        let request = Request::builder().method(method).uri(format!("{APP}/auth/jwks.json"));
        world.browser().raw(request.body(bytes::Bytes::new()).unwrap()).await
    };
    let answer = call(Method::GET).await;
    assert_eq!(answer.headers()["content-type"], "application/jwk-set+json");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=60");
    assert!(!answer.headers().contains_key("set-cookie") && !answer.headers().contains_key("vary"));
    let keys: Value = serde_json::from_slice(answer.body()).unwrap();
    let names = |key: &Value| key.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let keys: Vec<_> = keys["keys"].as_array().unwrap().iter().map(names).collect();
    assert_eq!(keys, ["alg crv kid kty use x y", "alg e kid kty n use"], "the key of both providers once");
    assert_eq!(call(Method::HEAD).await.status(), 200);
    assert_eq!(call(Method::POST).await.headers()["allow"], "GET, HEAD");
    let without = World::new();
    assert_eq!(without.browser().navigate(&format!("{APP}/auth/jwks.json")).await.status, 404);
}

/// Neither the key nor what it signed is in a log line, an event or `Debug`, whatever fails.
#[tokio::test]
async fn keys_and_assertions_are_shown_nowhere() {
    let (log, _guard) = Log::listen();
    let (key, folder) = (p256(), Folder::new());
    let path = folder.path().join("key.pem");
    fs::write(&path, &key).unwrap();
    let world = registered([PrivateKey::File(path.clone()), text(RSA)]).await;
    let alice = world.signed_in("alice").await;
    world.op.register_keys(CLIENT_ID, &json!({ "keys": [] }));
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(token(&alice).await.status, 503);
    replace(&path, &key.replace("PRIVATE", "SECRET"));
    key_set(&world).await;
    let config = with_keys([text(&key)])(crate::support::app::config(&world.net, &world.clock));
    let shown = format!("{:?} {:?} {config:?} {}", world.app.layer, world.app.events.all(), log.text());
    assert!(world.app.events.has(EventCode::ProviderMemberIgnored), "{shown}");
    let lines = key.lines().chain(RSA.lines()).filter(|line| !line.starts_with('-')).map(str::to_owned);
    let signatures = world.op.assertions().into_iter().map(|one| one.compact.rsplit_once('.').unwrap().1.to_owned());
    let secrets: Vec<_> = lines.chain(signatures).collect();
    assert!(secrets.len() > 20);
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret}");
    }
}
