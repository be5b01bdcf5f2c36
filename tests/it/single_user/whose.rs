//! Mode by mode, person by person: whose tokens `UserTokens` hands out, with everybody's grants in one store.

use tower_oidc::store::MemoryStore;
use tower_oidc::{Account, OidcLayer};

use super::app::{Durable, configured, reads_as, start};
use super::operator::connect_as;
use crate::support::app::{APP, World, routes};
use crate::support::browser::Browser;

type Rows = Durable<MemoryStore>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    PerUser,
    SingleUser,
    Stateless,
}

const MODES: [Mode; 3] = [Mode::PerUser, Mode::SingleUser, Mode::Stateless];

/// The application in this mode, over the store that it shares with the others.
fn serve(world: &World, mode: Mode, store: &Rows) {
    let layer = match mode {
        Mode::PerUser => OidcLayer::per_user(configured(world), store.clone()),
        Mode::Stateless => OidcLayer::stateless_with(configured(world), store.clone()),
        Mode::SingleUser => {
            start(world, Account::operator(), store.clone(), |config| config);
            return;
        }
    };
    world.net.serve_service(APP, layer.unwrap_or_else(|error| panic!("{error}")).layer(routes()));
}

/// Nobody; alice, who is an admin; bob; carol, who has signed in and taken her grant back by signing out elsewhere.
async fn people(world: &World) -> [(&'static str, Browser); 4] {
    let carol = world.signed_in("carol").await;
    world.op.revoke_grants_of("carol");
    [
        ("nobody", world.browser()),
        ("alice", world.signed_in("alice").await),
        ("bob", world.signed_in("bob").await),
        ("carol", carol),
    ]
}

/// Every grant that there can be lies in one store: alice's, bob's, carol's and the account's, of every mode. In each
/// mode each browser gets what is rightfully its person's there, and all other cells refuse.
#[tokio::test]
async fn whose_tokens_each_mode_hands_out() {
    let world = World::new();
    for name in ["carol", "robot"] {
        world.op.user(name, |_| {});
    }
    let store = Durable(MemoryStore::new());
    let mut signed_in = Vec::new();
    for mode in MODES {
        serve(&world, mode, &store);
        signed_in.push((mode, people(&world).await));
        if mode == Mode::SingleUser {
            let (_, [_, (_, alice), ..]) = &signed_in[signed_in.len() - 1];
            connect_as(&world, alice, "robot").await;
        }
    }
    // Carol's tokens are over at the provider, and her hour with them too.
    world.clock.advance(std::time::Duration::from_secs(3600));
    for mode in MODES {
        serve(&world, mode, &store);
        for (at, people) in &signed_in {
            for (name, browser) in people {
                let expected = match (mode, at, *name) {
                    // One account serves everybody, whoever they are and wherever they signed in.
                    (Mode::SingleUser, _, _) => "robot",
                    (_, _, "nobody") => "unauthenticated",
                    // Their own, where they signed in, and nobody's where they cannot have it.
                    (_, _, name) if mode == *at => match name {
                        "carol" => "consent_required",
                        name => name,
                    },
                    // Whoever signed in beside an account is known, and has granted nothing.
                    (Mode::PerUser, Mode::SingleUser, _) => "consent_required",
                    // Cookies that hold a person, or name one, say nothing to the other kind.
                    _ => "unauthenticated",
                };
                let found = reads_as(browser).await;
                assert_eq!(found, expected, "{mode:?}: {name}, who signed in at {at:?}");
            }
        }
    }
    assert_eq!(world.op.reuse_detected(), 0);
}
