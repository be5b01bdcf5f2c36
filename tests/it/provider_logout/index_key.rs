//! A store came back empty, and another process has made the index key: the process that knows the old one names nothing
//! by it that must be found.

use std::time::Duration;

use serde_json::Value;
use tower_oidc::store::Store;

use super::{MODES, Mode, NAMES, serve};
use crate::support::app::{APP, App, OP, World};
use crate::support::browser::Browser;
use crate::support::store::WatchedStore;

/// Two processes over one store that came back empty: the first knows the former index key, the second has made the new
/// one at the login of bob.
struct Emptied {
    world: World,
    first: App,
    second: App,
    bob: Browser,
}

impl Emptied {
    /// `before` happens at the first process, before the store is emptied.
    async fn new<T>(mode: Mode, before: impl AsyncFnOnce(&World) -> T) -> (Self, T) {
        let world = mode.world(|config| config);
        let store = WatchedStore::new(world.app.store.clone());
        let start = || mode.app_over(&world, store.clone(), |config| mode.with_front_channel(config));
        let first = start();
        let came = before(&world).await;
        for (key, _) in store.dump().await {
            store.delete(key, None).await.unwrap();
        }
        let second = start();
        let bob = world.signed_in("bob").await;
        (Self { world, first, second, bob }, came)
    }

    async fn who_at(&self, app: &App, browser: &Browser) -> Value {
        serve(&self.world, app);
        self.world.who(browser).await
    }

    async fn public_id_at(&self, app: &App, browser: &Browser) -> String {
        serve(&self.world, app);
        browser.navigate(&format!("{APP}/public-id")).await.text()
    }
}

async fn carol(world: &World) -> Browser {
    world.op.user("carol", |_| ());
    world.signed_in("carol").await
}

#[tokio::test]
async fn a_logout_at_the_process_with_the_old_key_ends_what_began_at_the_other() {
    for mode in MODES {
        for names in NAMES {
            let what = format!("{mode:?}, {names:?}");
            let (cluster, _carol) = Emptied::new(mode, carol).await;
            let Emptied { world, first, second, bob, .. } = &cluster;
            let alice = world.signed_in("alice").await;
            let sid = world.op.sids_of("alice").pop().unwrap();
            serve(world, first);
            let answer = world.back_channel(&names.token(world, "alice", &sid, |_| ())).await;
            assert_eq!(answer.status(), 200, "{what}");
            world.clock.advance(Duration::from_secs(3));
            for process in [second, first] {
                assert_eq!(cluster.who_at(process, &alice).await, Value::Null, "{what}");
                assert_eq!(cluster.who_at(process, bob).await, "b1", "{what}: another person");
            }
        }
    }
}

/// The same by the front channel, which stateless mode has not.
#[tokio::test]
async fn a_front_channel_logout_at_the_process_with_the_old_key_does_too() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        let (cluster, _carol) = Emptied::new(mode, carol).await;
        let Emptied { world, first, second, bob, .. } = &cluster;
        let alice = world.signed_in("alice").await;
        let sid = world.op.sids_of("alice").pop().unwrap();
        serve(world, first);
        let address = format!("{APP}/auth/frontchannel-logout?iss={OP}&sid={sid}");
        assert_eq!(alice.iframe(&address, OP).await.status, 200);
        world.clock.advance(Duration::from_secs(3));
        for process in [second, first] {
            assert_eq!(cluster.who_at(process, &alice).await, Value::Null, "{mode:?}");
            assert_eq!(cluster.who_at(process, bob).await, "b1", "{mode:?}: another person");
        }
    }
}

/// The process with the old key writes the session again: its tags stay those of the new key.
#[tokio::test]
async fn a_session_that_the_process_with_the_old_key_extends_is_found_at_the_other() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        for names in NAMES {
            let (cluster, _carol) = Emptied::new(mode, carol).await;
            let Emptied { world, first, second, .. } = &cluster;
            let alice = world.signed_in("alice").await;
            let sid = world.op.sids_of("alice").pop().unwrap();
            world.clock.advance(Duration::from_secs(6 * 3600));
            assert_eq!(cluster.who_at(first, &alice).await, "a1");
            first.layer.drain().await;
            serve(world, second);
            let answer = world.back_channel(&names.token(world, "alice", &sid, |_| ())).await;
            assert_eq!(answer.status(), 200, "{mode:?}, {names:?}");
            world.clock.advance(Duration::from_secs(3));
            assert_eq!(cluster.who_at(second, &alice).await, Value::Null, "{mode:?}, {names:?}");
        }
    }
}

#[tokio::test]
async fn public_ids_are_the_same_at_both() {
    for mode in MODES {
        let (cluster, _carol) = Emptied::new(mode, carol).await;
        let Emptied { world, first, second, bob, .. } = &cluster;
        let alice = world.signed_in("alice").await;
        world.clock.advance(Duration::from_secs(3));
        let at_second = cluster.public_id_at(second, &alice).await;
        assert_eq!(cluster.public_id_at(first, &alice).await, at_second, "{mode:?}");
        assert_ne!(cluster.public_id_at(first, bob).await, at_second, "{mode:?}: another person");
    }
}

/// The row of the index key alone is lost: a session that is used is found again.
#[tokio::test]
async fn a_session_with_the_tags_of_another_key_is_tagged_anew_when_it_is_used() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        for names in NAMES {
            let world = mode.world(|config| config);
            let store = WatchedStore::new(world.app.store.clone());
            let first = mode.app_over(&world, store.clone(), |config| config);
            // The first row that is ever written is the key's.
            let alice = world.signed_in("alice").await;
            let untagged: Vec<_> =
                store.dump().await.into_iter().filter(|(_, row)| row.record.tags.is_empty()).collect();
            for (key, _) in untagged {
                store.delete(key, None).await.unwrap();
            }
            drop(first);
            let second = mode.app_over(&world, store.clone(), |config| config);
            let bob = world.signed_in("bob").await;
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}");
            let sid = world.op.sids_of("alice").pop().unwrap();
            let answer = world.back_channel(&names.token(&world, "alice", &sid, |_| ())).await;
            assert_eq!(answer.status(), 200, "{mode:?}, {names:?}");
            assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}, {names:?}");
            assert_eq!(world.who(&bob).await, "b1", "{mode:?}, {names:?}");
            drop(second);
        }
    }
}
