//! Discovery and the key set.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tower_oidc::{EventCode, OidcLayer};

use super::{attempt, attempt_with, is_in, refusal, walk};
use crate::support::app::{APP, EVIL, OP, World, config, routes};
use crate::support::fault::{Fault, Gate};
use crate::support::provider::keys::{Alg, Key};
use crate::support::provider::lies::{DISCOVERY, KEY_SET};
use crate::support::provider::{Endpoint, LyingProvider};

const HOUR: Duration = Duration::from_secs(3601);

/// Alice has signed in once, so that metadata and keys are known; then everything is counted from nothing.
async fn warm() -> World {
    let world = World::new();
    world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(2));
    world.op.forget();
    world
}

/// What runs in the background has run.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn discovery_that_lies() {
    walk(DISCOVERY, |config| config, |_| 503).await;
    // An endpoint that a login does not need is not used where it would send tokens in plain text, and the login goes on.
    for lie in ["userinfo_endpoint plain http", "end_session_endpoint plain http", "revocation_endpoint plain http"] {
        let world = World::new();
        world.op.lie(lie);
        assert!(is_in(&attempt(&world).await.1), "{lie}");
        let name = lie.split(' ').next().unwrap();
        let events = world.app.events.all();
        let is_told =
            |event: &tower_oidc::Event| event.code == EventCode::ProviderMemberIgnored && event.detail.contains(name);
        assert!(events.iter().any(is_told), "{lie}: {events:?}");
    }
}

#[tokio::test]
async fn key_sets_that_lie() {
    walk(KEY_SET, |config| config, status).await;
}

/// Keys that can be read and do not fit say something about the token, the rest about the provider.
pub(super) fn status(lie: &str) -> u16 {
    let a_key = lie.starts_with("key ") && !lie.starts_with("key set") && !lie.contains("only");
    if a_key || lie.contains("stranger") { 400 } else { 503 }
}

#[tokio::test]
async fn the_issuer_is_the_one_that_is_configured_slash_and_all() {
    for issuer in ["https://op.test/", "https://slashed.test/tenant/", "https://under_score.test"] {
        let world = World::with(|mut config| {
            config.provider.issuer = issuer.to_owned();
            config
        });
        let op = LyingProvider::start(&world.net, issuer, &world.clock);
        op.sign_in_as("alice");
        let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.json()["issuer"], issuer);
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there() {
    for fault in [Fault::Refuse, Fault::DropAnswer, Fault::Garbage, Fault::Status(404)] {
        for path in ["/.well-known", "/jwks"] {
            let world = World::new();
            world.net.fault(OP, path, fault.clone());
            let browser = refusal(&world, &format!("{fault:?} at {path}"), 503).await;
            world.net.heal(OP);
            world.clock.advance(Duration::from_secs(5));
            assert!(is_in(&attempt_with(&world, &browser).await), "after {fault:?} at {path}");
        }
    }
}

/// Ten seconds a call, whoever hangs.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs() {
    for path in ["/.well-known", "/jwks", "/token"] {
        let world = World::new();
        world.net.fault(OP, path, Fault::Hang);
        let began = tokio::time::Instant::now();
        refusal(&world, path, 503).await;
        assert_eq!(began.elapsed().as_secs(), 10, "{path}");
    }
}

/// A failure is no answer to keep: it is asked again, more and more slowly, and never later than after 5 s.
#[tokio::test]
async fn failed_discovery_is_not_cached_and_backs_off() {
    let world = World::new();
    world.op.answer_error(Endpoint::Discovery, 500, "server_error");
    let browser = world.browser();
    let login = async || attempt_with(&world, &browser).await.status.as_u16();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let asked = world.op.discovery_fetches();
        let began = world.clock.millis();
        while world.op.discovery_fetches() == asked {
            assert_eq!(login().await, 503);
            world.clock.advance(Duration::from_millis(50));
        }
        pauses.push(world.clock.millis() - began);
    }
    assert!(pauses.is_sorted() && pauses[1] <= 200, "{pauses:?}");
    assert!((4_000..=5_050).contains(pauses.last().unwrap()), "{pauses:?}");
    world.op.honest();
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(login().await, 200);
    assert_eq!(world.app.events.count(EventCode::MetadataFetched), 1);
}

/// Whoever comes while the document is fetched waits for that one fetch.
#[tokio::test]
async fn one_fetch_for_everybody() {
    let world = World::new();
    let gate = Gate::new();
    world.net.fault(OP, "/.well-known", Fault::Gate(gate.clone()));
    let opening = async {
        gate.wait_for_arrivals(1).await;
        settled().await;
        gate.open();
    };
    let (logins, ()) = tokio::join!(join_all((0..50).map(|_| attempt(&world))), opening);
    assert!(logins.iter().all(|(_, page)| is_in(page)));
    assert_eq!((world.op.discovery_fetches(), world.op.jwks_fetches()), (1, 1));
}

#[tokio::test]
async fn issuers_on_one_host_do_not_collide() {
    let world = World::new();
    let tenants = ["a", "b"].map(|name| {
        let (issuer, app) = (format!("{OP}/{name}"), format!("https://{name}.test"));
        let op = LyingProvider::start(&world.net, &issuer, &world.clock);
        op.sign_in_as("alice");
        let mut config = config(&world.net, &world.clock);
        (config.provider.issuer, config.public_url) = (issuer.clone(), app.clone());
        // One store, as two tenants of one deployment have it.
        let layer = OidcLayer::per_user(config, world.app.store.clone()).unwrap();
        world.net.serve_service(&app, layer.layer(routes()));
        (op, issuer, app)
    });
    for (op, issuer, app) in &tenants {
        let page = world.browser().visit(&format!("{app}/auth/login?return_to=/who")).await;
        assert_eq!((page.json()["issuer"].as_str(), page.json()["sub"].as_str()), (Some(&**issuer), Some("a1")));
        assert_eq!((op.discovery_fetches(), op.jwks_fetches(), op.code_exchanges().len()), (1, 1, 1));
    }
    assert_eq!(world.op.discovery_fetches(), 0);
    // What one tenant's provider signs is nothing to the other's application.
    let (op, _, app) = &tenants[0];
    let theirs = tenants[1].1.clone();
    op.edit_id_token(move |jwt| jwt.claim("iss", theirs.clone()));
    let page = world.browser().visit(&format!("{app}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 400);
}

#[tokio::test(start_paused = true)]
async fn key_rotation() {
    let world = warm().await;
    world.op.rotate_keys();
    assert!(is_in(&attempt(&world).await.1));
    assert_eq!(world.op.jwks_fetches(), 1, "exactly one refetch");
    assert!(is_in(&attempt(&world).await.1));
    assert_eq!(world.op.jwks_fetches(), 1, "the new keys are kept");

    world.clock.advance(Duration::from_secs(2));
    world.op.forget();
    world.op.lie("kid unknown");
    let began = tokio::time::Instant::now();
    let attempts = join_all((0..50).map(|_| attempt(&world))).await;
    assert!(attempts.iter().all(|(_, page)| page.status == 400));
    let waited = began.elapsed().as_secs() / 2;
    assert_eq!(world.op.jwks_fetches() as u64, waited + 1, "no storm: once, and once more in each two seconds");
    assert!(waited <= 2, "{waited}");
}

/// Whoever signs in between two rotations waits for the new keys, and everybody who waits for the same fetch.
#[tokio::test(start_paused = true)]
async fn keys_that_rotate_twice_in_a_moment() {
    let world = warm().await;
    world.op.rotate_keys();
    assert!(is_in(&attempt(&world).await.1));
    world.clock.advance(Duration::from_millis(500));
    world.op.rotate_keys();
    let began = tokio::time::Instant::now();
    let attempts = join_all((0..20).map(|_| attempt(&world))).await;
    assert!(attempts.iter().all(|(_, page)| is_in(page)));
    assert_eq!(world.op.jwks_fetches(), 2, "no more often than once in two seconds");
    assert_eq!(began.elapsed(), Duration::from_millis(1_500));
}

#[tokio::test]
async fn keys_change_just_before_signing() {
    let world = warm().await;
    world.op.rotate_before_signing();
    assert!(is_in(&attempt(&world).await.1));
    assert_eq!(world.op.jwks_fetches(), 1, "exactly one refetch");
}

/// OpenID Connect Core 10.1 needs no `kid` where there is one key: then only the signature tells that it
/// changed. The same for providers that give a new key an old name.
#[tokio::test]
async fn a_key_that_changes_without_a_name_of_its_own() {
    for rename in [true, false] {
        let world = warm().await;
        world.op.rotate_keys();
        if rename {
            world.op.edit_key_set(|set| set["keys"][0]["kid"] = json!("rs256-1"));
            world.op.edit_id_token(|jwt| jwt.head("kid", "rs256-1"));
        } else {
            world.op.edit_id_token(|jwt| drop(jwt.header.remove("kid")));
        }
        assert!(is_in(&attempt(&world).await.1), "rename: {rename}");
        assert_eq!(world.op.jwks_fetches(), 1);
    }
}

#[tokio::test]
async fn a_failed_refetch_is_throttled_and_the_known_keys_serve_on() {
    let world = warm().await;
    world.net.fault(OP, "/jwks", Fault::Status(500));
    assert!(is_in(&attempt(&world).await.1), "the known keys serve");
    world.op.lie("kid unknown");
    world.net.forget();
    assert_eq!(attempt(&world).await.1.status, 503, "nobody knows whether this key is theirs");
    assert_eq!(attempt(&world).await.1.status, 503, "still nobody knows, and it was asked a moment ago");
    assert_eq!(world.net.count(OP, "/jwks"), 1);
    world.op.honest();
    assert!(is_in(&attempt(&world).await.1), "the known keys still serve");
    world.clock.advance(Duration::from_secs(2));
    world.net.heal(OP);
    world.op.rotate_keys();
    assert!(is_in(&attempt(&world).await.1), "and new ones are read when they can be");
}

/// Read again in the background after an hour, so that nobody waits; served on while the provider is away.
#[tokio::test]
async fn old_metadata_and_keys_are_read_again_in_the_background() {
    let world = warm().await;
    world.clock.advance(HOUR);
    world.net.fault(OP, "/.well-known", Fault::Status(500));
    world.net.fault(OP, "/jwks", Fault::Refuse);
    assert!(is_in(&attempt(&world).await.1), "the old ones serve");
    settled().await;
    assert!(world.app.events.has(EventCode::ProviderFailed), "somebody asked");
    world.net.heal(OP);
    world.net.forget();
    assert!(is_in(&attempt(&world).await.1));
    settled().await;
    assert_eq!(world.op.discovery_fetches(), 0, "it pauses after a failure");
    world.clock.advance(Duration::from_secs(5));
    // Somebody who only looks at the login makes it read again: the person at the provider waits for nothing.
    world.browser().step(&format!("{APP}/auth/login")).await;
    settled().await;
    assert_eq!((world.op.discovery_fetches(), world.op.jwks_fetches()), (1, 1));
    assert!(is_in(&attempt(&world).await.1));
    assert_eq!((world.op.discovery_fetches(), world.op.jwks_fetches()), (1, 1), "fresh for another hour");
}

/// A key that the provider withdrew, because somebody stole it, is believed for an hour at most.
#[tokio::test]
async fn a_withdrawn_key_is_not_believed_for_ever() {
    let world = warm().await;
    world.op.rotate_keys();
    world.op.edit_id_token(|jwt| jwt.sign_with(Key { alg: Alg::Rs256, generation: 1 }));
    assert!(is_in(&attempt(&world).await.1), "nobody has said so yet");
    world.clock.advance(HOUR);
    let look = async || {
        world.browser().step(&format!("{APP}/auth/login")).await;
        settled().await;
    };
    // The metadata can be read, the keys cannot: they are asked for again all the same.
    world.net.fault(OP, "/jwks", Fault::Refuse);
    look().await;
    world.net.heal(OP);
    assert!(is_in(&attempt(&world).await.1), "still nobody has said so");
    world.clock.advance(Duration::from_secs(5));
    look().await;
    assert_eq!(attempt(&world).await.1.status, 400);
    world.op.honest();
    assert!(is_in(&attempt(&world).await.1));
}

/// Metadata that turns bad while it is in use is not taken over.
#[tokio::test]
async fn metadata_that_turns_bad_later_is_not_believed() {
    for lie in ["discovery issuer other", "discovery redirects", "token_endpoint plain http", "discovery huge"] {
        let world = warm().await;
        world.clock.advance(HOUR);
        world.op.lie(lie);
        world.browser().step(&format!("{APP}/auth/login")).await;
        settled().await;
        assert_eq!(world.op.discovery_fetches(), 1, "{lie}");
        assert!(is_in(&attempt(&world).await.1), "{lie}");
        assert!(world.net.requests(EVIL).is_empty(), "{lie}");
    }
    // What is good is taken over: the provider has moved an endpoint.
    let world = warm().await;
    let moved = LyingProvider::start(&world.net, "https://moved.test", &world.clock);
    world.op.edit_discovery(|document| {
        document.insert("jwks_uri".to_owned(), json!("https://moved.test/jwks"));
    });
    world.clock.advance(HOUR);
    world.browser().step(&format!("{APP}/auth/login")).await;
    settled().await;
    assert!(is_in(&attempt(&world).await.1));
    assert_eq!(moved.jwks_fetches(), 1);
}
