//! Two processes over one store, and a grant at a provider without ID tokens: one refresh for one expiry, whatever fails.

use std::collections::HashSet;
use std::time::Duration;

use tower_oidc::Config;

use super::refresh::{HOURS, REPLICA, refreshes};
use super::{HUB, Without, preset, shapes};
use crate::refresh::store::{FaultyStore, Mode};
use crate::support::app::{APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::Fault;
use crate::support::oauth2::OAuth2Provider;

/// Alice is signed in at a GitHub App, her token is over, and the second process has never seen her.
async fn two_replicas() -> (Without, Browser, FaultyStore) {
    let world = World::new();
    let provider = OAuth2Provider::start(&world.net, &world.clock, shapes::github_app());
    let here = FaultyStore::over(world.app.store.clone());
    let at_hub = |config: Config| config.provider(preset("github"));
    let app = |store: &dyn Fn() -> FaultyStore, origin: &str| {
        let app = App::over(&world.net, &world.clock, store(), world.app.store.clone(), at_hub);
        world.net.serve_service(origin, app.layer.layer(routes()));
        app
    };
    let first = app(&|| here.clone(), APP);
    app(&|| FaultyStore::over(world.app.store.clone()), REPLICA);
    let without = Without { world: World { app: first, ..world }, provider };
    let alice = without.signed_in("alice").await;
    without.world.clock.advance(HOURS);
    (without, alice, here)
}

#[tokio::test]
async fn fifty_requests_over_two_replicas_are_one_refresh() {
    let (without, alice, _) = two_replicas().await;
    for round in 1..=3 {
        without.world.net.forget();
        let ask = |n: usize| tokio::spawn(without.world.ask([APP, REPLICA][n % 2], &alice, "/tok"));
        let asked: Vec<_> = (0..50).map(ask).collect();
        let mut tokens = HashSet::new();
        for answer in asked {
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200, "{answer:?}");
            tokens.insert(answer.into_body());
        }
        let counted = (tokens.len(), refreshes(&without), without.provider.reuse());
        assert_eq!(counted, (1, round, 0));
        assert_eq!(without.world.net.count(HUB, "/user"), 1, "one question whose it is");
        without.world.clock.advance(HOURS);
    }
}

/// At every call that a process makes to the store, the call fails, is done and reported as failed, or is never answered:
/// no refresh token is spent twice, and nobody is signed out.
#[tokio::test(start_paused = true)]
async fn every_single_failure_of_the_store_is_survived() {
    for (name, mode) in [
        ("fails", Mode::Fails),
        ("lies", Mode::Lies),
        ("hangs", Mode::Hangs),
        ("hangs after it wrote", Mode::HangsAfter),
    ] {
        for after in 0.. {
            let (without, alice, here) = two_replicas().await;
            let world = &without.world;
            world.ticking(&world.clock);
            // Slow enough for a renewal, and for the other to wait.
            world.net.fault(HUB, "/user", Fault::SlowAnswer(Duration::from_secs(6)));
            here.once(after, mode.clone());
            let asked = [APP, REPLICA].map(|origin| tokio::spawn(world.ask(origin, &alice, "/tok")));
            for answer in asked {
                let status = answer.await.unwrap().unwrap().status().as_u16();
                assert!([200, 503].contains(&status), "{name} after {after}: {status}");
            }
            if !here.has_happened() {
                assert!(after > 5, "there are more calls than {after}");
                break;
            }
            tokio::time::sleep(Duration::from_secs(30)).await;
            for origin in [APP, REPLICA] {
                let (status, token) = world.tok_at(origin, &alice).await;
                assert_eq!(status, 200, "{name} after {after} at {origin}: {token}");
                assert_eq!(without.provider.owner_of(&token).as_deref(), Some("alice"));
            }
            assert_eq!(without.provider.reuse(), 0, "{name} after {after}");
            assert!(refreshes(&without) <= 2, "{name} after {after}: {}", refreshes(&without));
        }
    }
}

/// And at every call to the provider, the token endpoint and the identity endpoint.
#[tokio::test(start_paused = true)]
async fn every_single_failure_of_the_provider_is_survived() {
    let hub = "https://github.com";
    for (name, origin, path, fault) in [
        ("the refresh is lost", hub, "/login/oauth/access_token", Fault::Hang),
        ("the refresh is refused a connection", hub, "/login/oauth/access_token", Fault::Refuse),
        ("the token endpoint cannot", hub, "/login/oauth/access_token", Fault::Status(503)),
        ("the question is lost", HUB, "/user", Fault::Hang),
        ("its answer is lost", HUB, "/user", Fault::DropAnswer),
        ("the identity endpoint cannot", HUB, "/user", Fault::Status(500)),
        ("the identity endpoint says nothing", HUB, "/user", Fault::Garbage),
    ] {
        let (without, alice, _) = two_replicas().await;
        let world = &without.world;
        world.ticking(&world.clock);
        world.net.fault(origin, path, fault.once());
        for answer in [APP, REPLICA].map(|origin| tokio::spawn(world.ask(origin, &alice, "/tok"))) {
            let status = answer.await.unwrap().unwrap().status().as_u16();
            assert!([200, 503].contains(&status), "{name}: {status}");
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        for origin in [APP, REPLICA] {
            let (status, token) = world.tok_at(origin, &alice).await;
            assert_eq!(status, 200, "{name} at {origin}: {token}");
        }
        assert_eq!(without.provider.reuse(), 0, "{name}");
    }
}
