//! Browsers keep the sessions: who ends all of a user reaches them, and nobody can list them.

use std::time::Duration;

use tower_oidc::EventCode;

use super::{TWO, act, with_sessions};
use crate::support::app::{APP, App, World};
use crate::support::store::{Trouble, Verb, WatchedStore};

/// Two processes that meet at the store of this world; the second hears nothing if `deaf`.
fn processes(deaf: bool) -> (World, App) {
    let world = World::new();
    let (net, clock, store) = (&world.net, &world.clock, world.app.store.clone());
    let app = App::stateless_at(net, clock, store.clone(), store.clone(), |config| config);
    let before = WatchedStore::new(store.clone());
    if deaf {
        before.trouble(Verb::Listen, Trouble::Hang);
    }
    let second = App::stateless_at(net, clock, before, store, |config| config);
    net.serve_service(TWO, second.layer.layer(with_sessions()));
    let world = World { app, ..world };
    world.serve(with_sessions());
    (world, second)
}

#[tokio::test]
async fn what_nobody_can_do_is_a_typed_error() {
    let (world, _second) = processes(false);
    let alice = world.signed_in("alice").await;
    let list = alice.navigate(&format!("{APP}/sessions")).await;
    assert_eq!((list.status.as_u16(), list.code().as_str()), (500, "not_in_this_mode"));
    for what in ["end-others", "end/AAAAAAAAAAAAAAAAAAAAAA"] {
        let page = act(&alice, what).await;
        assert_eq!((page.status.as_u16(), page.code().as_str()), (500, "not_in_this_mode"));
    }
    assert_eq!(world.who(&alice).await, "a1");
}

#[tokio::test]
async fn all_of_a_user_end_in_every_process() {
    for deaf in [false, true] {
        let (world, _second) = processes(deaf);
        let (here, there) = (world.signed_in("alice").await, world.signed_in("alice").await);
        let bob = world.signed_in("bob").await;
        assert!(world.is_in_at(TWO, &there).await && world.is_in_at(TWO, &bob).await);
        assert_eq!(act(&here, "end-all").await.status, 200);
        let left: Vec<_> = here.cookies_for(APP).into_iter().map(|cookie| cookie.name).collect();
        assert_eq!(left, ["__Host-tower-oidc-silent"], "nothing else is left");
        assert_eq!(world.app.events.count(EventCode::LoggedOut), 1);
        world.told().await;
        if deaf {
            world.clock.advance(Duration::from_millis(2001));
        }
        assert!(!world.is_in_at(TWO, &there).await, "deaf: {deaf}");
        assert!(world.is_in_at(TWO, &bob).await);
        // Who signs in after that is in.
        world.sign_in(&here, "alice").await;
        assert!(world.is_in_at(TWO, &here).await);
    }
}
