//! A provider that sends a refresh token with a person's first consent only: no later consent loses it.

use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::routing::get;
use http::Method;
use tower_oidc::{Account, Config, Connection, OidcLayer, Resource, Retention, UserTokens};

use crate::single_user::app::{Durable, configured, reads_as, reads_as_at};
use crate::support::app::{API, APP, OP, World, routes};
use crate::support::browser::{Browser, Page};
use crate::support::fault::{Fault, Gate};
use crate::support::html::Form;
use crate::support::test_store::TestStore;

const HOUR: Duration = Duration::from_secs(3601);
const MAIL: &str = "https://app.test/fetch?u=https://api.test/mail/";
const PHOTOS: &str = "https://app.test/fetch?u=https://api.test/photos/";

/// `mail` with an optional scope, and, for visitors, `photos`.
fn connections(config: Config) -> Config {
    let at = |name: &str| Resource::new(name, format!("{API}/{name}/")).scope(name);
    let connection =
        |name: &str, at| Connection::new(name).scope("openid").resource(at).retention(Retention::Session);
    config
        .connection(connection("mail", at("mail").optional_scope("mail.send")))
        .connection(connection("photos", at("photos")).for_visitors())
}

fn kept(config: Config) -> Config {
    let mut config = connections(config);
    config.login_retention = Retention::User;
    config
}

fn served(world: World) -> World {
    world.op.set(|settings| settings.refresh_token_once = true);
    let need = |tokens: UserTokens, Query(asked): Query<std::collections::HashMap<String, String>>| async move {
        tokens.require_scopes("mail", &[&asked["s"]]).await.map(|()| Json("granted"))
    };
    world.serve(routes().route("/need", get(need)));
    world
}

fn worlds() -> [World; 3] {
    [World::with(connections), World::with(kept), World::stateless_with(connections)].map(served)
}

async fn connect(browser: &Browser, more: &str) -> Page {
    browser.visit(&format!("{APP}/auth/connect?return_to=/who&connection={more}")).await
}

async fn need(browser: &Browser) -> u16 {
    browser.fetch(Method::GET, &format!("{APP}/need?s=mail.send"), "", APP).await.status.as_u16()
}

#[tokio::test]
async fn a_second_login_keeps_the_refresh_token() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        for _ in 0..2 {
            world.sign_in(&browser, "alice").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as(&browser).await, "alice");
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
        world.sign_in(&browser, "bob").await;
        assert_eq!(reads_as(&browser).await, "bob", "the control: another person has their own");
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&browser).await, "bob");
    }
}

#[tokio::test]
async fn a_second_consent_keeps_the_refresh_token_of_a_connection() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        for _ in 0..2 {
            connect(&browser, "mail").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as_at(&browser, MAIL).await, "alice");
        }
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}

#[tokio::test]
async fn a_second_consent_keeps_the_refresh_token_of_a_visitor() {
    for world in worlds() {
        let browser = world.browser();
        world.op.sign_in_as("alice");
        for _ in 0..2 {
            connect(&browser, "photos").await;
            world.clock.advance(HOUR);
            assert_eq!(reads_as_at(&browser, PHOTOS).await, "alice");
        }
        world.op.new_person("bob");
        connect(&browser, "photos").await;
        world.op.sign_in_as("bob");
        connect(&browser, "photos").await;
        connect(&browser, "photos").await;
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, PHOTOS).await, "bob", "nothing of another account is taken over");
    }
}

#[tokio::test]
async fn the_account_of_everybody_keeps_its_refresh_token_unless_it_is_another_account() {
    let world = World::new();
    world.op.set(|settings| settings.refresh_token_once = true);
    let layer = OidcLayer::single_user(configured(&world), Account::operator(), Durable(TestStore::new()));
    world.net.serve_service(APP, layer.unwrap().layer(routes()));
    let admin = world.signed_in("alice").await;
    world.op.new_person("alice");
    let connect = async || {
        let form = Form::post(&format!("{APP}/auth/connect?connection=login&return_to=/who"), &[]);
        let sent = admin.submit_from(APP, &form).await;
        assert_eq!(admin.settle(sent).await.status, 200);
    };
    for _ in 0..2 {
        connect().await;
        world.clock.advance(HOUR);
        assert_eq!(reads_as(&world.browser()).await, "alice");
    }
    // Bob has consented before, and no refresh token comes for him: alice's does not stay in its place.
    world.signed_in("bob").await;
    connect().await;
    assert_eq!(reads_as(&world.browser()).await, "bob");
    world.clock.advance(HOUR);
    assert_eq!(reads_as(&world.browser()).await, "needs_operator");
}

/// RFC 6749 section 6: fewer scopes are asked for with the refresh token; more are consent again, with `prompt=consent`,
/// once.
#[tokio::test]
async fn a_consent_to_more_lapses_and_is_asked_for_with_a_prompt_once() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail").await;
        connect(&browser, "mail&scope=mail.send").await;
        assert_eq!(need(&browser).await, 200, "the access token has it");
        world.clock.advance(HOUR);
        assert_eq!(need(&browser).await, 403, "it has lapsed");
        assert_eq!(reads_as_at(&browser, MAIL).await, "alice", "what the refresh token was granted stays");
        let prompt = || world.op.last_authorization().get("prompt").map(str::to_owned);
        assert_eq!(prompt(), None);
        world.op.set(|settings| settings.issue_refresh_tokens = false);
        connect(&browser, "mail&scope=mail.send").await;
        assert_eq!((prompt().as_deref(), need(&browser).await), (Some("consent"), 200));
        world.clock.advance(HOUR);
        assert_eq!(need(&browser).await, 403);
        connect(&browser, "mail&scope=mail.send").await;
        assert_eq!((prompt(), need(&browser).await), (None, 200), "once");
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

/// A consent comes while a refresh is under way: neither the rotated token nor the new access token is lost.
#[tokio::test]
async fn a_consent_during_a_refresh_loses_nothing() {
    for world in [World::with(connections), World::with(kept)].map(served) {
        let browser = world.signed_in("alice").await;
        world.op.new_person("alice");
        connect(&browser, "mail").await;
        world.clock.advance(HOUR);
        let gate = Gate::new();
        let asking = {
            world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
            let other = world.browser();
            other.replace_jar(browser.clone_jar());
            tokio::spawn(async move { reads_as_at(&other, MAIL).await })
        };
        gate.wait_for_arrivals(1).await;
        world.net.heal(OP);
        connect(&browser, "mail&scope=mail.send").await;
        gate.open();
        assert_eq!(asking.await.unwrap(), "alice");
        assert_eq!(need(&browser).await, 200, "the new access token is there");
        world.clock.advance(HOUR);
        assert_eq!(reads_as_at(&browser, MAIL).await, "alice", "the rotated refresh token is there");
        assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    }
}
