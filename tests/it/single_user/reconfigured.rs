//! An application that is deployed anew with another configuration of its account: what was granted to the former one
//! does not serve the new one, and both may run at once.

use std::time::Duration;

use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, Resource, SharedAccount};

use super::app::{Durable, reads_as, reads_as_at, start};
use crate::support::app::{API, APP, World};
use crate::support::provider::CLIENT_ID;

type Rows = Durable<MemoryStore>;

/// Serves the application with this configuration over the same store.
fn deploy(world: &World, store: &Rows, edit: impl FnOnce(Config) -> Config) {
    start(world, SharedAccount::client_credentials(), store.clone(), edit);
}

/// A world whose tokens never end, and what its applications share.
fn endless() -> (World, Rows) {
    let world = World::new();
    world.op.edit_tokens(|tokens| drop(tokens.remove("expires_in")));
    (world, Durable(MemoryStore::new()))
}

fn tasks() -> Resource {
    Resource::new("tasks", format!("{API}/tasks/")).scope("tasks.read").scope("tasks.write")
}

/// What the token is good for that comes to this API.
async fn scopes_at(world: &World, path: &str) -> Vec<String> {
    world.api.forget();
    reads_as_at(&world.browser(), &format!("{APP}/fetch?u={API}{path}")).await;
    let seen = world.api.authorizations().pop().expect("a token");
    world.op.issued(seen.strip_prefix("Bearer ").expect("a bearer token")).expect("the provider's").scope
}

#[tokio::test]
async fn other_scopes_are_asked_for_anew_and_the_same_are_not() {
    let (world, store) = endless();
    deploy(&world, &store, |config| config);
    assert_eq!(scopes_at(&world, "/cal/").await, ["mail.read"]);
    deploy(&world, &store, |config| config.resource(tasks()));
    assert_eq!(scopes_at(&world, "/cal/").await, ["mail.read", "tasks.read", "tasks.write"]);
    assert_eq!(world.op.token_requests().len(), 2);
    // The same in another order, more than once, and with what is not asked for yet.
    deploy(&world, &store, |mut config| {
        config.provider.resources.insert(0, tasks().scope("mail.read").optional_scope("tasks.delete"));
        config.provider.resources[0].scopes.reverse();
        config
    });
    assert_eq!(scopes_at(&world, "/cal/").await.len(), 3);
    assert_eq!(world.op.token_requests().len(), 2, "the control: nothing else is asked for");
    deploy(&world, &store, |config| config);
    assert_eq!(scopes_at(&world, "/cal/").await, ["mail.read"], "nor does more than is configured");
}

/// A scope that another API's tokens had before.
#[tokio::test]
async fn a_scope_that_moves_to_another_resource_indicator_moves_at_once() {
    let (world, store) = endless();
    let at = |scopes: [&'static str; 2]| {
        move |mut config: Config| {
            config.provider.resources.clear();
            ["a", "b"].into_iter().zip(scopes).fold(config, |config, (name, scope)| {
                let url = format!("{API}/{name}/");
                config.resource(Resource::new(name, &url).indicator(url).scope(scope))
            })
        }
    };
    for scopes in [["read", "write"], ["write", "read"]] {
        for _ in 0..2 {
            deploy(&world, &store, at(scopes));
            assert_eq!(scopes_at(&world, "/a/").await, scopes[..1]);
            assert_eq!(scopes_at(&world, "/b/").await, scopes[1..]);
        }
    }
    assert_eq!(world.op.token_requests().len(), 4, "one for each API and configuration");
}

/// As while a deploy goes on: each keeps to what it was given itself.
#[tokio::test]
async fn two_clients_at_once_keep_to_their_own_tokens() {
    let world = World::new();
    let store = Durable(MemoryStore::new());
    world.op.register("another", Some("another secret"));
    let another = |mut config: Config| {
        (config.provider.client_id, config.provider.client_secret) = ("another".into(), Some("another secret".into()));
        config
    };
    for round in 1..=3 {
        for _ in 0..2 {
            deploy(&world, &store, |config| config);
            assert_eq!(reads_as(&world.browser()).await, CLIENT_ID, "{round}");
            deploy(&world, &store, another);
            assert_eq!(reads_as(&world.browser()).await, "another", "{round}");
        }
        assert_eq!(world.op.token_requests().len(), 2 * round, "one for each");
        world.clock.advance(Duration::from_secs(3700));
    }
}
