//! How the application proves itself without sending a secret: by assertions that it signs, or that its platform writes.

mod apple;
mod configuration;
mod files;
mod private_keys;
mod shared_secret;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tower_oidc::{Config, PrivateKey};

use crate::support::app::{APP, World};
use crate::support::browser::{Browser, Page};
use crate::support::provider::CLIENT_ID;

const TOKENS: &str = "/tok";

/// RSA as PKCS#1.
pub(crate) const RSA: &str = include_str!("../../support/src/keys/rsa-3.pem");

/// A new key of P-256 as PKCS#8.
pub(crate) fn p256() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem()
}

pub(crate) fn ed25519() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()
}

/// Keys in place of the secret.
fn with_keys(keys: impl IntoIterator<Item = PrivateKey>) -> impl FnOnce(Config) -> Config {
    let keys = keys.into_iter().collect();
    move |mut config| {
        (config.provider.client_secret, config.provider.private_keys) = (None, keys);
        config
    }
}

pub(crate) fn text(key: &str) -> PrivateKey {
    PrivateKey::Text(key.into())
}

/// What `/auth/jwks.json` answers.
async fn key_set(world: &World) -> Value {
    let request = Request::get(format!("{APP}/auth/jwks.json")).body(Bytes::new()).unwrap();
    let answer = world.browser().raw(request).await;
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(answer.body()).unwrap()
}

/// The provider reads the application's keys, and takes nothing else from it.
async fn read_keys(world: &World) {
    world.op.set(|settings| settings.auth_methods = vec!["private_key_jwt"]);
    world.op.register(CLIENT_ID, None);
    world.op.register_keys(CLIENT_ID, &key_set(world).await);
}

/// An application with these keys, at a provider that has read them.
async fn registered(keys: impl IntoIterator<Item = PrivateKey>) -> World {
    let world = World::with(with_keys(keys));
    read_keys(&world).await;
    world
}

async fn token(browser: &Browser) -> Page {
    browser.navigate(&format!("{APP}{TOKENS}")).await
}

/// The address of the callback of a login that is under way in this browser.
async fn callback_of(world: &World, browser: &Browser) -> String {
    world.op.sign_in_as("alice");
    let sent = browser.step(&format!("{APP}/auth/login?return_to=/who")).await;
    browser.follow(&sent).await.location().expect("a way back").to_owned()
}

/// Replaces a file at once, as platforms do.
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}
