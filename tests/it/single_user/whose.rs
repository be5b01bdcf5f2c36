//! Mode by mode, person by person: whose tokens `UserTokens` hands out, with everybody's grants in one store.

use tower_oidc::store::MemoryStore;
use tower_oidc::{Config, Connection, GrantLifetime, OidcLayer, Resource, SharedAccount};

use super::app::{CAL, Durable, configured, reads_as_at, start};
use super::operator::connect_as;
use crate::support::app::{API, APP, World, routes};
use crate::support::browser::Browser;

type Rows = Durable<MemoryStore>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    PerUser,
    SingleUser,
    Stateless,
    /// Where nothing is set up to meet at.
    StatelessAlone,
}

const MODES: [Mode; 4] = [Mode::PerUser, Mode::SingleUser, Mode::Stateless, Mode::StatelessAlone];

impl Mode {
    /// What one of two seals into a browser, the other opens.
    fn is_like(self, other: Self) -> bool {
        let is_stateless = |mode| matches!(mode, Mode::Stateless | Mode::StatelessAlone);
        self == other || is_stateless(self) && is_stateless(other)
    }
}

/// What visitors may grant without signing in; everything else is for people.
const PHOTOS: &str = "https://app.test/fetch?u=https://api.test/photos/";

fn photos() -> Connection {
    let photos = Resource::new("photos", format!("{API}/photos/")).scope("photos");
    Connection::new("photos").scope("offline_access").resource(photos).grant_lifetime(GrantLifetime::Session)
}

/// The application in this mode, over the store that it shares with the others.
fn serve(world: &World, mode: Mode, store: &Rows) {
    let with_visitors = || configured(world).connection(photos().allow_visitors());
    let layer = match mode {
        Mode::PerUser => OidcLayer::per_user(with_visitors(), store.clone()),
        Mode::Stateless => OidcLayer::stateless(with_visitors(), store.clone()),
        Mode::StatelessAlone => OidcLayer::stateless(with_visitors(), MemoryStore::new()),
        Mode::SingleUser => {
            start(world, SharedAccount::connected_by_admin(), store.clone(), |config: Config| {
                config.connection(photos())
            });
            return;
        }
    };
    world.net.serve_service(APP, layer.unwrap_or_else(|error| panic!("{error}")).layer(routes()));
}

async fn grant_photos(world: &World, browser: &Browser, name: &str) {
    world.op.sign_in_as(name);
    let page = browser.visit(&format!("{APP}/auth/connect?connection=photos&return_to=/who")).await;
    assert_eq!((page.status.as_u16(), page.path_and_query()), (200, "/who"), "{}", page.text());
}

/// Whoever there is: nobody; two visitors, whose data are vera's and victor's; alice, who is an admin and has granted
/// everything; bob, who has signed in; carol, whose grant is over; and dave, who signed in where he was a visitor before.
async fn people(world: &World, mode: Mode) -> Vec<(&'static str, Browser)> {
    let mut people = vec![("nobody", world.browser())];
    if mode != Mode::SingleUser {
        for name in ["vera", "victor"] {
            people.push((name, world.browser()));
            grant_photos(world, &people[people.len() - 1].1, name).await;
        }
    }
    for name in ["alice", "bob", "carol"] {
        people.push((name, world.signed_in(name).await));
    }
    world.op.revoke_grants_of("carol");
    if mode != Mode::SingleUser {
        grant_photos(world, &people.iter().find(|(name, _)| *name == "alice").expect("she is there").1, "alice").await;
        let dave = world.browser();
        grant_photos(world, &dave, "dave").await;
        world.sign_in(&dave, "dave").await;
        people.push(("dave", dave));
    }
    people
}

/// Whose data a browser gets in a mode, of what only people grant and of what visitors grant.
fn rightful(mode: Mode, at: Mode, name: &'static str) -> [&'static str; 2] {
    let is_visitor = matches!(name, "vera" | "victor");
    match (mode, name) {
        // One account serves everybody, whoever they are and wherever they signed in.
        (Mode::SingleUser, _) => ["robot", "robot"],
        (_, "nobody") => ["unauthenticated", "consent_required"],
        // What only the browser has says nothing to whom it is not sealed for. (The other way it has come from the store,
        // where it met it before.)
        (Mode::PerUser, "vera" | "victor" | "dave") if at == Mode::StatelessAlone => {
            ["unauthenticated", "consent_required"]
        }
        // A browser has one name as a visitor, and what lies under it in the store is its own in either mode.
        _ if is_visitor => ["unauthenticated", name],
        // Their own, where they were or signed in, and nobody's where they cannot have it.
        _ if mode.is_like(at) => match name {
            "alice" => ["alice", "alice"],
            "carol" => ["consent_required", "consent_required"],
            // What he granted as a visitor is the browser's, and he is somebody now.
            _ => [name, "consent_required"],
        },
        // Whoever signed in beside an account is known, and has granted nothing.
        (Mode::PerUser, _) if at == Mode::SingleUser => ["consent_required", "consent_required"],
        // Cookies that hold a person, or name one, say nothing to the other kind: the browser is a visitor's there.
        (_, "dave") => ["unauthenticated", "dave"],
        _ => ["unauthenticated", "consent_required"],
    }
}

/// Every grant that there can be lies in one store, or in a browser beside it: people's, visitors' and the account's, of
/// every mode. In each mode each browser gets what is rightfully its own there, and all other cells refuse.
#[tokio::test]
async fn whose_tokens_each_mode_hands_out() {
    let world = World::new();
    for name in ["carol", "dave", "robot", "vera", "victor"] {
        world.op.user(name, |_| {});
    }
    let store = Durable(MemoryStore::new());
    let mut everybody = Vec::new();
    for mode in MODES {
        serve(&world, mode, &store);
        let people = people(&world, mode).await;
        if mode == Mode::SingleUser {
            let (_, alice) = people.iter().find(|(name, _)| *name == "alice").expect("she is there");
            connect_as(&world, alice, "robot").await;
            let asks = alice.navigate(&format!("{APP}/auth/connect?connection=photos&return_to=/who")).await;
            alice.submit(&asks.form()).await;
        }
        everybody.push((mode, people));
    }
    // All tokens are over, and carol's at the provider too.
    world.clock.advance(std::time::Duration::from_secs(3600));
    let mut cells = 0;
    for mode in MODES {
        serve(&world, mode, &store);
        for (at, people) in &everybody {
            for (name, browser) in people {
                let found = [reads_as_at(browser, CAL).await, reads_as_at(browser, PHOTOS).await];
                assert_eq!(found, rightful(mode, *at, name), "{mode:?}: {name}, who was there at {at:?}");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 4 * (7 + 4 + 7 + 7));
    assert_eq!(world.op.reuse_detected(), 0);
}
