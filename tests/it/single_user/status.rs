//! How the account is said to stand: as requests find it, and nothing else is counted.

use std::time::Duration;

use tower_oidc::store::MemoryStore;
use tower_oidc::{AccountState, AccountStatus, Config, Connection, Resource, SharedAccount};

use super::app::{Durable, login_status, reads_as_at, start, state};
use super::operator::connect_as;
use crate::support::app::{API, APP, App, World};
use crate::support::provider::Endpoint;

fn at(name: &str) -> String {
    format!("{API}/{name}/")
}

async fn reads(world: &World, name: &str) -> String {
    reads_as_at(&world.browser(), &format!("{APP}/fetch?u={}", at(name))).await
}

fn indicated(mut config: Config) -> Config {
    config.provider.resources.clear();
    ["a", "b"].into_iter().fold(config, |config, name| {
        config.resource(Resource::new(name, at(name)).indicator(at(name)).scope(format!("{name}.read")))
    })
}

/// With the account that robot grants.
async fn connected(edit: impl FnOnce(Config) -> Config) -> (World, App) {
    let world = World::new();
    world.op.user("robot", |_| {});
    let app = start(&world, SharedAccount::connected_by_admin(), Durable(MemoryStore::new()), edit);
    let alice = world.signed_in("alice").await;
    connect_as(&world, &alice, "robot").await;
    (world, app)
}

fn names(statuses: &[AccountStatus]) -> Vec<(&str, AccountState)> {
    statuses.iter().map(|status| (status.connection.as_str(), status.state)).collect()
}

/// The login of such an application is for people to be known by: nothing is ever granted to the account with it.
#[tokio::test]
async fn a_connection_without_resources_is_not_waited_for() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let without = |mut config: Config| {
        config.provider.resources.clear();
        config
    };
    let photos = || Connection::new("photos").resource(Resource::new("photos", at("photos")).scope("photos"));
    let app = start(&world, SharedAccount::connected_by_admin(), Durable(MemoryStore::new()), |config| {
        without(config).connection(photos()).connection(Connection::new("later"))
    });
    assert_eq!(names(&app.layer.account_status().await), [("photos", AccountState::NeedsOperator)]);
    let alice = world.signed_in("alice").await;
    let asks = alice.navigate(&format!("{APP}/auth/connect?connection=photos&return_to=/who")).await;
    world.op.sign_in_as("robot");
    alice.submit(&asks.form()).await;
    assert_eq!(names(&app.layer.account_status().await), [("photos", AccountState::Connected)]);
    assert_eq!(reads(&world, "photos").await, "robot", "as a request finds it");
    // The control: a login with resources is waited for, and one that is all there is.
    let both = start(&world, SharedAccount::connected_by_admin(), Durable(MemoryStore::new()), |config| {
        config.connection(photos())
    });
    let both = both.layer.account_status().await;
    let expected = [("login", AccountState::NeedsOperator), ("photos", AccountState::NeedsOperator)];
    assert_eq!(names(&both), expected);
    let alone = start(&world, SharedAccount::connected_by_admin(), Durable(MemoryStore::new()), without);
    let alone = alone.layer.account_status().await;
    assert_eq!(names(&alone), [("login", AccountState::NeedsOperator)]);
}

/// A provider that gives tokens for named APIs alone is asked for those, and a token that nobody uses costs no rotation.
#[tokio::test]
async fn each_resource_indicator_is_asked_for_and_nothing_beside() {
    let (world, app) = connected(indicated).await;
    world.op.set(|settings| settings.require_resource = true);
    // What came with the code, for both together, is over.
    world.clock.advance(Duration::from_secs(3700));
    let status = login_status(&app).await;
    assert_eq!((status.state, status.subject.as_deref()), (AccountState::Connected, Some("r1")), "{status:?}");
    let asked = || {
        let refreshes = world.op.refreshes();
        ["resource", "scope"].map(|name| {
            let asked = refreshes.iter().filter_map(|one| one.params.get(name));
            asked.map(str::to_owned).collect::<Vec<_>>()
        })
    };
    let each = [[at("a"), at("b")], ["a.read".to_owned(), "b.read".to_owned()]];
    assert_eq!(asked(), each);
    assert_eq!((reads(&world, "a").await, reads(&world, "b").await), ("robot".into(), "robot".into()));
    assert_eq!(asked(), each, "requests use what the status found");
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
    assert_eq!(status.expires_at.map(|at| at.as_secs()), Some(world.clock.now() + 3600));
}

/// Two APIs are well when both are.
#[tokio::test]
async fn the_worst_of_several_counts() {
    let (world, app) = connected(indicated).await;
    for (name, other) in [("a", "b"), ("b", "a")] {
        world.clock.advance(Duration::from_secs(3700));
        world.op.answer_error(Endpoint::Refresh, 400, "invalid_target");
        assert_eq!(reads(&world, name).await, "operator_action_required");
        world.op.honest();
        assert_eq!(state(&app).await, AccountState::NeedsOperator, "{name}");
        assert_eq!(reads(&world, other).await, "robot", "{other}");
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(state(&app).await, AccountState::Connected, "{name}");
    }
    // One is there still, and the other cannot be had.
    world.clock.advance(Duration::from_secs(3000));
    world.api.refuse(&at("b")[API.len()..], 1, "Bearer error=\"invalid_token\"");
    assert_eq!(reads(&world, "b").await, "robot");
    world.clock.advance(Duration::from_secs(700));
    world.op.answer(Endpoint::Refresh, 503, "text/plain", "");
    assert_eq!(state(&app).await, AccountState::Unavailable);
    assert_eq!((reads(&world, "a").await, reads(&world, "b").await), ("unavailable".into(), "robot".into()));
}
