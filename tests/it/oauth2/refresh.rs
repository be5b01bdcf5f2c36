//! A refresh at a provider without ID tokens: the rotated refresh token is written first, then the identity endpoint says
//! whose the access token is, and only then anybody gets it.

use std::time::Duration;

use serde_json::json;
use tower_oidc::{EventCode, Mode, SharedAccount};

use super::{HUB, Without, preset, shapes};
use crate::refresh::store;
use crate::stateless::cookies_of;
use crate::support::app::{APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::fault::{Fault, Gate};
use crate::support::oauth2::OAuth2Provider;

pub(super) const HOURS: Duration = Duration::from_secs(9 * 3600);
/// Where a second process of the application is reached.
pub(super) const REPLICA: &str = "https://replica.test";
/// After a failure that passes, a grant's provider is left alone for one second.
const PAUSE: Duration = Duration::from_millis(1001);

/// At a GitHub App, alice is signed in, and her token is over.
async fn expired(mode: Mode) -> (Without, Browser) {
    let without = Without::of(mode, shapes::github_app(), preset("github"), |config| config);
    let alice = without.signed_in("alice").await;
    without.world.clock.advance(HOURS);
    (without, alice)
}

pub(super) fn refreshes(without: &Without) -> usize {
    let requests = without.provider.token_requests();
    requests.iter().filter(|request| request.get("grant_type") == Some("refresh_token")).count()
}

impl Without {
    /// A browser asks, so that it gets what answers bring it.
    async fn token(&self, browser: &Browser) -> (u16, String) {
        let page = browser.fetch(http::Method::GET, &format!("{APP}/tok"), "", APP).await;
        (page.status.as_u16(), page.text())
    }
}

#[tokio::test]
async fn many_requests_are_one_refresh_and_one_question() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let (without, alice) = expired(mode).await;
        without.world.net.forget();
        let asked: Vec<_> = (0..20).map(|_| tokio::spawn(without.world.ask(APP, &alice, "/tok"))).collect();
        for answer in asked {
            let answer = answer.await.unwrap().unwrap();
            let token = String::from_utf8_lossy(answer.body()).into_owned();
            assert_eq!(answer.status(), 200, "{token}");
            assert_eq!(without.provider.owner_of(&token).as_deref(), Some("alice"));
        }
        assert_eq!((refreshes(&without), without.provider.reuse()), (1, 0));
        assert_eq!(without.world.net.count(HUB, "/user"), 1);
        // And the next one spends what came.
        assert_eq!(without.token(&alice).await.0, 200);
        without.world.clock.advance(HOURS);
        assert_eq!(without.token(&alice).await.0, 200);
        assert_eq!((refreshes(&without), without.provider.reuse()), (2, 0));
    }
}

/// Whatever the endpoint answers that is no answer, the grant stays, and no refresh token is spent twice.
#[tokio::test]
async fn an_identity_endpoint_that_fails_is_unavailable_and_costs_no_refresh_token() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let (without, alice) = expired(mode).await;
        for fault in [Fault::Status(500), Fault::Status(403), Fault::Refuse, Fault::Garbage, Fault::Status(401)] {
            without.world.net.fault(HUB, "/user", fault.clone());
            let (status, problem) = without.token(&alice).await;
            assert_eq!(status, 503, "{fault:?}: {problem}");
            without.world.net.heal(HUB);
            without.world.clock.advance(PAUSE);
        }
        assert_eq!((refreshes(&without), without.provider.reuse()), (5, 0));
        assert!(!without.world.app.events.has(EventCode::TokensDropped), "what came is kept");
        let (status, token) = without.token(&alice).await;
        assert_eq!((status, without.provider.owner_of(&token).as_deref()), (200, Some("alice")), "{token}");
        assert_eq!(without.provider.reuse(), 0);
        assert_eq!(without.world.who(&alice).await, "583231");
    }
}

/// It is left alone as long as it asks: each refresh asks it.
#[tokio::test]
async fn an_identity_endpoint_that_is_busy_is_left_alone() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let (without, alice) = expired(mode).await;
        without.provider.limit(60);
        for seconds in [0, 10, 49] {
            without.world.clock.advance(Duration::from_secs(seconds));
            assert_eq!(without.token(&alice).await.0, 503, "{seconds}");
            assert_eq!(refreshes(&without), 1, "{seconds}");
        }
        without.provider.honest();
        without.world.clock.advance(Duration::from_secs(2));
        let (status, token) = without.token(&alice).await;
        assert_eq!((status, without.provider.owner_of(&token).as_deref()), (200, Some("alice")), "{token}");
        assert_eq!((refreshes(&without), without.provider.reuse()), (2, 0));
    }
}

/// Before anybody is asked whose the access token is, the refresh token is in the store: that is tried until it works, or the
/// store refuses it for good.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_cannot_be_written_is_tried_again_unless_the_store_refuses_it() {
    for (fault, status) in [(store::Mode::Fails, 200), (store::Mode::Refuses, 503)] {
        let world = World::new();
        let provider = OAuth2Provider::start(&world.net, &world.clock, shapes::github_app());
        let faulty = store::FaultyStore::over(world.app.store.clone());
        let app = App::over(&world.net, &world.clock, faulty.clone(), world.app.store.clone(), |config| {
            config.provider(preset("github"))
        });
        world.net.serve_service(APP, app.layer.layer(routes()));
        let without = Without { world: World { app, ..world }, provider };
        let alice = without.signed_in("alice").await;
        without.world.clock.advance(HOURS);
        without.world.net.forget();
        let gate = Gate::new();
        without.world.net.fault("https://github.com", "/login/oauth/access_token", Fault::GateAnswer(gate.clone()));
        let asked = tokio::spawn(without.world.ask(APP, &alice, "/tok"));
        gate.wait_for_arrivals(1).await;
        faulty.swaps(fault.clone());
        gate.open();
        tokio::time::sleep(Duration::from_secs(8)).await;
        let waits = matches!(fault, store::Mode::Fails);
        assert_eq!((asked.is_finished(), without.world.net.count(HUB, "/user") == 0), (!waits, waits));
        faulty.swaps(store::Mode::Works);
        assert_eq!(asked.await.unwrap().unwrap().status(), status);
        without.world.app.layer.drain().await;
        assert_eq!((refreshes(&without), without.provider.reuse()), (1, 0));
    }
}

/// Where browsers carry grants, what came before the endpoint failed lasts longer than the memory of processes.
#[tokio::test]
async fn what_came_before_a_failure_reaches_the_browser() {
    for asks_again in [true, false] {
        let (without, alice) = expired(Mode::Stateless).await;
        without.world.net.fault(HUB, "/user", Fault::Status(500));
        let before = cookies_of(&alice, "grant");
        assert_eq!(without.token(&alice).await.0, 503);
        assert_ne!(cookies_of(&alice, "grant"), before, "the answer brings it: the next process knows nothing else");
        // Held back: it is read again, and nobody is asked.
        if asks_again {
            assert_eq!(without.token(&alice).await.0, 503);
        }
        without.world.app.layer.drain().await;
        without.world.net.heal(HUB);
        without.world.clock.advance(HOURS);
        // What has expired is swept.
        without.signed_in("bob").await;
        without.world.app.layer.drain().await;
        let (status, token) = without.token(&alice).await;
        assert_eq!((status, without.provider.reuse()), (200, 0), "{token}");
        assert_eq!(refreshes(&without), 2);
    }
}

/// What came is in the row before the endpoint is asked: who dies there loses the access token alone.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_the_endpoint_loses_no_refresh_token() {
    let (without, alice) = expired(Mode::PerUser).await;
    let world = &without.world;
    world.ticking(&world.clock);
    let store = world.app.store.clone();
    let replica = App::unserved(&world.net, &world.clock, store, |config| config.provider(preset("github")));
    world.net.serve_service(REPLICA, replica.layer.layer(routes()));
    let gate = Gate::new();
    world.net.fault(HUB, "/user", Fault::Gate(gate.clone()));
    let asking = world.ask(REPLICA, &alice, "/tok");
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(asking);
            gate.wait_for_arrivals(1).await;
        });
    });
    process.join().unwrap();
    world.net.heal(HUB);
    let (status, token) = without.token(&alice).await;
    assert_eq!((status, without.provider.owner_of(&token).as_deref()), (200, Some("alice")), "{token}");
    assert_eq!((refreshes(&without), without.provider.reuse()), (2, 0));
}

#[tokio::test]
async fn another_subject_ends_the_grant() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let (without, alice) = expired(mode).await;
        without.provider.edit(|answer| {
            if answer.is_object() {
                answer["id"] = json!(583_232);
            }
        });
        let (status, problem) = without.token(&alice).await;
        assert_eq!(status, 403, "{problem}");
        assert!(without.world.app.events.has(EventCode::RefreshOwnerMismatch));
        // It is over, whatever the endpoint says from now on.
        without.provider.honest();
        without.world.clock.advance(PAUSE);
        assert_eq!(without.token(&alice).await.0, 403);
        assert_eq!(refreshes(&without), 1);
        let again = without.signed_in("alice").await;
        assert_eq!(without.token(&again).await.0, 200, "the control");
    }
}

/// A refused refresh token is the person's to renew, under GitHub's own name for it.
#[tokio::test]
async fn a_refresh_token_that_is_over_needs_consent() {
    let (without, alice) = expired(Mode::PerUser).await;
    without.provider.forget_refresh_tokens();
    assert_eq!(without.token(&alice).await.0, 403);
    let (unknown, alice) = expired(Mode::PerUser).await;
    unknown.provider.forget_refresh_tokens();
    unknown.provider.set(|shape| shape.refusal = (200, "odd"));
    assert_eq!(unknown.token(&alice).await.0, 503, "what is not known ends nothing");
}

/// A token without an end is used until an API refuses it, and nothing is asked.
#[tokio::test]
async fn a_token_without_an_end_is_not_refreshed() {
    let without = Without::github();
    let alice = without.signed_in("alice").await;
    let (_, token) = without.token(&alice).await;
    without.world.clock.advance(HOURS * 2);
    assert_eq!(without.token(&alice).await, (200, token));
    assert_eq!(refreshes(&without), 0);
}

/// RFC 6749 section 4.4.3: a refresh token that comes with an application's own token is not used. The control: a configured
/// one is, and what it was rotated to after it; and the operator reads that this is kept in memory only.
#[tokio::test]
async fn what_an_application_has_by_itself_is_asked_for_again_as_at_first() {
    for configured in [false, true] {
        let mode = |provider: &OAuth2Provider| match configured {
            false => SharedAccount::client_credentials(),
            true => SharedAccount::refresh_token(provider.refresh_token_of("alice")),
        };
        let (without, mut grants) = (Without::shared(mode), Vec::new());
        for _ in 0..3 {
            let (status, token) = without.token(&without.world.browser()).await;
            assert_eq!(status, 200, "{token}");
            without.world.clock.advance(HOURS);
        }
        for request in without.provider.token_requests() {
            grants.push(request.get("grant_type").unwrap_or_default().to_owned());
        }
        let expected = if configured { "refresh_token" } else { "client_credentials" };
        assert_eq!(grants, [expected; 3]);
        assert_eq!(without.provider.reuse(), 0);
        let told = without.world.app.events.count(EventCode::NeedsOperator);
        assert_eq!(told, usize::from(configured), "at the first rotation only");
    }
}
