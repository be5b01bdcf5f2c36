//! Where the account's tokens come from, and how they stay fresh for everybody.

use std::time::Duration;

use futures_util::future::join_all;
use tower_oidc::store::MemoryStore;
use tower_oidc::{AccountState, EventCode, Resource, SharedAccount};

use super::app::{CAL, Durable, login_status, reads_as, reads_as_at, refresh_token_of, script, start, state};
use super::operator::connect_as;
use crate::support::app::{API, APP, OP, World};
use crate::support::fault::{Fault, Gate};
use crate::support::provider::{CLIENT_ID, Endpoint};

#[tokio::test]
async fn a_configured_token_serves_everybody_and_comes_back_after_a_restart() {
    let world = World::new();
    world.op.user("robot", |_| {});
    world.op.set(|settings| settings.rotate_refresh_tokens = false);
    let token = refresh_token_of(&world, "robot").await;
    let account = || SharedAccount::refresh_token(token.as_str());
    start(&world, account(), MemoryStore::new(), |config| config);
    assert_eq!(reads_as(&world.browser()).await, "robot", "anonymous");
    let bob = world.signed_in("bob").await;
    assert_eq!(world.who(&bob).await, "b1", "he is himself");
    assert_eq!(reads_as(&bob).await, "robot", "and uses the account all the same");
    assert_eq!(world.op.refreshes().len(), 1);
    let app = start(&world, account(), MemoryStore::new(), |config| config);
    assert_eq!(reads_as(&world.browser()).await, "robot", "after a restart");
    assert_eq!(world.op.refreshes().len(), 2, "from the configuration again");
    assert_eq!(state(&app).await, AccountState::Connected);
    assert!(!app.events.has(EventCode::NeedsOperator));
}

/// The same for what the application is by itself: its own scopes, and nothing that concerns a person.
#[tokio::test]
async fn client_credentials_serve_everybody() {
    let world = World::new();
    world.op.edit_tokens(|tokens| {
        // Against RFC 6749 section 4.4.3, which says that it should not come.
        tokens.insert("refresh_token".into(), "rt-that-nobody-wants".into());
        // Nobody signed in: it is not even read.
        tokens.insert("id_token".into(), "not an ID token".into());
    });
    let app = start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    let browser = world.browser();
    assert_eq!(reads_as(&browser).await, CLIENT_ID);
    let asked = world.op.token_requests().pop().expect("a request").params;
    assert_eq!((asked.get("grant_type"), asked.get("scope")), (Some("client_credentials"), Some("mail.read")));
    let status = script(&browser, &format!("{APP}/status")).await.json();
    assert_eq!((&status["state"], &status["scopes"][0]), (&"connected".into(), &"mail.read".into()));
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(reads_as(&browser).await, CLIENT_ID);
    let kinds: Vec<_> = world.op.token_requests().into_iter().map(|one| one.grant_type).collect();
    assert_eq!(kinds, ["client_credentials", "client_credentials"], "it is never refreshed");
    // An API that refuses a token gets another one, once.
    world.api.refuse("/cal/", 1, "Bearer error=\"invalid_token\"");
    assert_eq!(reads_as(&browser).await, CLIENT_ID);
    assert_eq!(world.op.token_requests().len(), 3);
    assert_eq!(login_status(&app).await.expires_at.map(|at| at.as_secs()), Some(world.clock.now() + 3600));
}

/// A provider that keeps giving what the API refuses is asked once more, and then the operator must act.
#[tokio::test]
async fn a_token_that_is_refused_and_given_again_is_not_fetched_for_ever() {
    let world = World::new();
    start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    assert_eq!(reads_as(&world.browser()).await, CLIENT_ID);
    world.clock.advance(Duration::from_secs(3700));
    let fetched = world.op.token_requests().len();
    let clock = world.clock.clone();
    world.op.edit_tokens(move |tokens| {
        clock.advance(Duration::from_millis(1));
        tokens.insert("access_token".into(), "at-the-same-for-ever".into());
    });
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    assert_eq!(world.op.token_requests().len(), fetched + 2, "one when it was over, one when it was refused");
}

/// Processes with the old and the new token in their configuration, as while a deploy goes on: each keeps to its own.
#[tokio::test]
async fn two_configurations_at_once_do_not_overwrite_each_other() {
    let world = World::new();
    for name in ["robot", "droid"] {
        world.op.user(name, |_| {});
    }
    let (first, second) = (refresh_token_of(&world, "robot").await, refresh_token_of(&world, "droid").await);
    let store = Durable(MemoryStore::new());
    for _ in 0..3 {
        for (token, owner) in [(&first, "robot"), (&second, "droid")] {
            start(&world, SharedAccount::refresh_token(token.as_str()), store.clone(), |config| config);
            assert_eq!(reads_as(&world.browser()).await, owner);
        }
        world.clock.advance(Duration::from_secs(3700));
    }
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (6, 0));
}

/// Fifty first visitors are one token request, and so are fifty at the moment of expiry. While a token is good, nobody
/// waits for the provider.
#[tokio::test]
async fn one_flight_for_the_whole_application() {
    let world = World::new();
    start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    let everybody = async || {
        let visitors: Vec<_> = (0..50).map(|_| world.browser()).collect();
        for owner in join_all(visitors.iter().map(reads_as)).await {
            assert_eq!(owner, CLIENT_ID);
        }
        world.op.token_requests().len()
    };
    assert_eq!(everybody().await, 1, "the first");
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(everybody().await, 2, "all at the expiry");
    // In the last tenth of its life, with a provider that does not answer.
    world.clock.advance(Duration::from_secs(3580));
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), everybody()).await.expect("nobody waits"), 3);
    gate.wait_for_arrivals(1).await;
    gate.open();
}

#[tokio::test]
async fn a_rotating_provider_and_a_durable_store_outlive_restarts() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let token = refresh_token_of(&world, "robot").await;
    let store = Durable(MemoryStore::new());
    for restart in 0..3 {
        let app = start(&world, SharedAccount::refresh_token(token.as_str()), store.clone(), |config| config);
        assert_eq!(reads_as(&world.browser()).await, "robot", "after {restart} restarts");
        assert_eq!(state(&app).await, AccountState::Connected);
        assert!(!app.events.has(EventCode::NeedsOperator));
        world.clock.advance(Duration::from_secs(3700));
    }
    let spent: Vec<_> = world.op.refreshes().into_iter().map(|one| one.refresh_token.unwrap()).collect();
    assert_eq!((spent.len(), &spent[0]), (3, &token), "the configured one once, then what came for it");
    assert_eq!(world.op.reuse_detected(), 0);
}

/// Without one the first rotation raises `NeedsOperator` and says why.
#[tokio::test]
async fn a_rotation_without_a_durable_store_says_that_the_next_start_fails() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let token = refresh_token_of(&world, "robot").await;
    let app = start(&world, SharedAccount::refresh_token(token.as_str()), MemoryStore::new(), |config| config);
    for _ in 0..2 {
        assert_eq!(reads_as(&world.browser()).await, "robot", "until it ends, it works");
        world.clock.advance(Duration::from_secs(3700));
    }
    assert_eq!(app.events.count(EventCode::NeedsOperator), 1, "at the first rotation only");
    let status = login_status(&app).await;
    assert_eq!(status.state, AccountState::NeedsOperator);
    assert!(status.why.unwrap().contains("durable store"));

    let app = start(&world, SharedAccount::refresh_token(token.as_str()), MemoryStore::new(), |config| config);
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    assert!(login_status(&app).await.why.unwrap().contains("ACCOUNT_REFRESH_TOKEN"));
}

/// The same configured token never comes over a rotated one; another one replaces a dead grant.
#[tokio::test]
async fn another_configured_token_replaces_a_dead_grant() {
    let world = World::new();
    for name in ["robot", "droid"] {
        world.op.user(name, |_| {});
    }
    let (first, second) = (refresh_token_of(&world, "robot").await, refresh_token_of(&world, "droid").await);
    let store = Durable(MemoryStore::new());
    start(&world, SharedAccount::refresh_token(first.as_str()), store.clone(), |config| config);
    assert_eq!(reads_as(&world.browser()).await, "robot");
    world.op.answer_error(Endpoint::Refresh, 400, "invalid_grant");
    world.clock.advance(Duration::from_secs(3700));
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    let asked = world.op.refreshes().len();
    for _ in 0..3 {
        start(&world, SharedAccount::refresh_token(first.as_str()), store.clone(), |config| config);
        assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    }
    assert_eq!(world.op.refreshes().len(), asked, "what is dead is not tried again and again");
    world.op.honest();
    start(&world, SharedAccount::refresh_token(second.as_str()), store.clone(), |config| config);
    assert_eq!(reads_as(&world.browser()).await, "droid");
}

/// Whoever the first refresh names stays the one: nobody else's tokens are used for everybody.
#[tokio::test]
async fn the_account_never_becomes_somebody_else() {
    let world = World::new();
    world.op.user("robot", |_| {});
    let token = refresh_token_of(&world, "robot").await;
    let store = Durable(MemoryStore::new());
    let app = start(&world, SharedAccount::refresh_token(token.as_str()), store, |config| config);
    assert_eq!(reads_as(&world.browser()).await, "robot");
    assert_eq!(login_status(&app).await.subject.as_deref(), Some("r1"));
    world.op.edit_refreshed_id_token(|draft| draft.claim("sub", "m1"));
    world.clock.advance(Duration::from_secs(3700));
    world.api.forget();
    assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
    assert!(app.events.has(EventCode::RefreshOwnerMismatch));
    assert!(world.api.requests().is_empty());
    assert_eq!(state(&app).await, AccountState::NeedsOperator);
}

/// A provider that is away passes, and is told from one that refuses: neither sends a visitor anywhere.
#[tokio::test]
async fn refusals_are_the_operators_and_outages_are_nobodys() {
    let world = World::new();
    let app = start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    world.op.answer_error(Endpoint::Token, 401, "invalid_client");
    for _ in 0..3 {
        assert_eq!(reads_as(&world.browser()).await, "operator_action_required");
        assert_eq!(state(&app).await, AccountState::NeedsOperator);
    }
    assert_eq!(world.op.token_requests().len(), 1, "everybody of one second is told what the first was");
    world.op.answer(Endpoint::Token, 503, "text/plain", "");
    world.clock.advance(Duration::from_secs(5));
    for _ in 0..3 {
        let page = script(&world.browser(), CAL).await;
        assert_eq!((page.status.as_u16(), page.json()["code"].as_str()), (503, Some("unavailable")));
        assert!(page.headers.contains_key("retry-after"));
        assert_eq!(state(&app).await, AccountState::Unavailable);
    }
    assert_eq!(world.op.token_requests().len(), 2);
    world.op.honest();
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(reads_as(&world.browser()).await, CLIENT_ID, "nothing has to be restarted for it");
    assert_eq!(state(&app).await, AccountState::Connected);
}

/// Whatever a provider calls it: the application shows nothing that could be over but its own secret.
#[tokio::test]
async fn client_credentials_work_again_once_they_are_not_refused() {
    for error in ["invalid_client", "unauthorized_client", "invalid_scope", "invalid_grant"] {
        let world = World::new();
        let app = start(&world, SharedAccount::client_credentials(), Durable(MemoryStore::new()), |config| config);
        world.op.answer_error(Endpoint::Token, 400, error);
        for _ in 0..2 {
            assert_eq!(reads_as(&world.browser()).await, "operator_action_required", "{error}");
            assert_eq!(state(&app).await, AccountState::NeedsOperator, "{error}");
        }
        assert_eq!(app.events.count(EventCode::NeedsOperator), 2, "{error}: once for each request");
        world.op.honest();
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(reads_as(&world.browser()).await, CLIENT_ID, "{error}");
        assert_eq!(state(&app).await, AccountState::Connected, "{error}");
    }
}

/// Nothing of a person's is sent, so that nothing of one can be over, however long the provider says nothing of use.
#[tokio::test]
async fn client_credentials_outlive_a_day_of_unclear_refusals() {
    let world = World::new();
    start(&world, SharedAccount::client_credentials(), Durable(MemoryStore::new()), |config| config);
    world.op.answer(Endpoint::Token, 400, "text/plain", "");
    for _ in 0..5 {
        assert_eq!(reads_as(&world.browser()).await, "unavailable");
        world.clock.advance(Duration::from_secs(7 * 3600));
    }
    world.op.honest();
    assert_eq!(reads_as(&world.browser()).await, CLIENT_ID);
}

/// What the provider refuses of the application itself is not the account's fault: once the registration is mended,
/// its refresh token works as it did.
#[tokio::test]
async fn a_refused_application_costs_no_account_its_grant() {
    for by_hand in [false, true] {
        let world = World::new();
        world.op.user("robot", |_| {});
        let account = match by_hand {
            true => SharedAccount::connected_by_admin(),
            false => SharedAccount::refresh_token(refresh_token_of(&world, "robot").await),
        };
        let app = start(&world, account, Durable(MemoryStore::new()), |config| config);
        if by_hand {
            connect_as(&world, &world.signed_in("alice").await, "robot").await;
        }
        assert_eq!(reads_as(&world.browser()).await, "robot");
        for error in ["invalid_client", "unauthorized_client", "invalid_scope"] {
            world.clock.advance(Duration::from_secs(3700));
            world.op.answer_error(Endpoint::Refresh, 400, error);
            for _ in 0..2 {
                assert_eq!(reads_as(&world.browser()).await, "operator_action_required", "{error}, by hand: {by_hand}");
                assert_eq!(state(&app).await, AccountState::NeedsOperator, "{error}");
            }
            world.op.answer(Endpoint::Refresh, 503, "text/plain", "");
            world.clock.advance(Duration::from_secs(5));
            assert_eq!(reads_as(&world.browser()).await, "unavailable", "the control");
            assert_eq!(state(&app).await, AccountState::Unavailable);
            world.op.honest();
            world.clock.advance(Duration::from_secs(5));
            assert_eq!(reads_as(&world.browser()).await, "robot", "{error}, by hand: {by_hand}");
            assert_eq!(state(&app).await, AccountState::Connected);
        }
        assert_eq!(world.op.reuse_detected(), 0);
    }
}

/// What the account is refused for one API is no reason to keep everybody from another.
#[tokio::test]
async fn an_api_that_is_refused_leaves_the_accounts_others_alone() {
    let at = |name: &str| format!("{API}/{name}/");
    for (error, other) in [("invalid_target", CLIENT_ID), ("invalid_client", "operator_action_required")] {
        let world = World::new();
        start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |mut config| {
            config.provider.resources.clear();
            ["a", "b"]
                .into_iter()
                .fold(config, |config, name| config.resource(Resource::new(name, at(name)).indicator(at(name))))
        });
        let reads = async |name| reads_as_at(&world.browser(), &format!("{APP}/fetch?u={}", at(name))).await;
        world.op.answer_error(Endpoint::Token, 400, error);
        assert_eq!(reads("a").await, "operator_action_required", "{error}");
        world.op.honest();
        assert_eq!(
            (reads("b").await.as_str(), reads("a").await.as_str()),
            (other, "operator_action_required"),
            "{error}"
        );
        world.clock.advance(Duration::from_secs(5));
        assert_eq!((reads("a").await.as_str(), reads("b").await.as_str()), (CLIENT_ID, CLIENT_ID), "{error}");
    }
}

/// What was not granted is asked of no visitor.
#[tokio::test]
async fn a_missing_scope_sends_no_visitor_to_consent() {
    let world = World::new();
    start(&world, SharedAccount::client_credentials(), MemoryStore::new(), |config| config);
    let browser = world.browser();
    assert_eq!(reads_as(&browser).await, CLIENT_ID);
    assert_eq!(script(&browser, &format!("{APP}/need?s=mail.read")).await.text(), "granted", "the control");
    let page = browser.navigate(&format!("{APP}/need?s=mail.send")).await;
    assert_eq!(page.status, 503);
    assert!(page.chain.iter().all(|hop| hop.status != 303), "it is sent nowhere");
    assert!(page.links().is_empty() && page.text().contains("operator"), "{}", page.text());
    let page = script(&browser, &format!("{APP}/need?s=mail.send")).await.json();
    assert_eq!((&page["code"], page.get("connect_url")), (&"operator_action_required".into(), None));
    assert_eq!(page.get("detail"), None, "what concerns the operator is not for visitors");
    // Nor does an API that wants it.
    world.api.refuse_always("/cal/", "Bearer error=\"invalid_token\"");
    assert_eq!(reads_as(&browser).await, "operator_action_required");
    assert!(world.api.requests().iter().all(|seen| seen.path_and_query.starts_with("/cal/")), "{API}");
}
