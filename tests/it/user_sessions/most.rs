//! A limit of sessions a user.

use std::time::Duration;

use serde_json::{Value, json};
use tower_oidc::{Config, OidcLayer};

use super::{listed, worlds};
use crate::support::app::{World, config};

const SECOND: Duration = Duration::from_secs(1);

fn two(config: Config) -> Config {
    config.max_sessions_per_user(2)
}

#[tokio::test]
async fn a_login_ends_the_oldest() {
    for world in worlds(two) {
        let bob = world.signed_in("bob").await;
        let mut browsers = Vec::new();
        for _ in 0..4 {
            world.clock.advance(SECOND);
            browsers.push(world.signed_in("alice").await);
        }
        let mut left = Vec::new();
        for browser in &browsers {
            left.push(world.who(browser).await);
        }
        assert_eq!(left, [Value::Null, Value::Null, json!("a1"), json!("a1")]);
        assert_eq!(listed(&browsers[3]).await.len(), 2);
        // A login in the place of another one takes no more room.
        world.clock.advance(SECOND);
        world.sign_in(&browsers[2], "alice").await;
        assert_eq!(world.who(&browsers[3]).await, "a1");
        assert_eq!(world.who(&bob).await, "b1");
    }
}

#[tokio::test]
async fn there_is_no_limit_by_default() {
    let world = World::new();
    world.serve(super::with_sessions());
    let first = world.signed_in("alice").await;
    for _ in 0..12 {
        world.signed_in("alice").await;
    }
    assert_eq!(listed(&first).await.len(), 13);
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused_at_construction() {
    let world = World::new();
    let config = || config(&world.net, &world.clock);
    let refused = |made: Result<OidcLayer, tower_oidc::ConfigError>| made.unwrap_err().to_string();
    let none = refused(OidcLayer::per_user(config().max_sessions_per_user(0), world.app.store.clone()));
    assert!(none.contains("max_sessions_per_user is 0"), "{none}");
    let stateless = refused(OidcLayer::stateless(two(config()), world.app.store.clone()));
    assert!(stateless.contains("max_sessions_per_user") && stateless.contains("OidcLayer::per_user"));
    assert!(OidcLayer::per_user(two(config()), world.app.store.clone()).is_ok());
}
