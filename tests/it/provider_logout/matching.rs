//! Which sessions a logout token means, where the provider's dates and ours are close together.

use std::time::Duration;

use serde_json::Value;
use tower_oidc::EventCode;

use super::{MODES, Mode, Names};
use crate::support::app::{APP, OP, World};
use crate::support::fault::{Fault, Gate};
use crate::support::provider::keys::Alg;

/// Nobody believes for longer what they were told before.
fn settle(world: &World) {
    world.clock.advance(Duration::from_secs(3));
}

/// A logout token for alice's newest session at the provider, dated this many seconds back.
fn token(world: &World, names: Names, back: i64) -> String {
    let sid = world.op.sids_of("alice").pop().unwrap();
    names.token(world, "alice", &sid, |jwt| jwt.claim("iat", jwt.now() - back))
}

#[tokio::test]
async fn a_person_is_signed_out_although_the_logout_token_is_dated_back() {
    for mode in MODES {
        for (names, back, ended) in [
            (Names::Sub, 2, true),
            (Names::Sub, 5, true),
            (Names::Sub, 6, false),
            (Names::Sid, 60, true),
            (Names::Both, 60, true),
        ] {
            let world = mode.world(|config| config);
            let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
            assert_eq!(world.back_channel(&token(&world, names, back)).await.status(), 200);
            settle(&world);
            let left = if ended { Value::Null } else { "a1".into() };
            assert_eq!(world.who(&alice).await, left, "{mode:?}, {names:?}, {back} s back");
            assert_eq!(world.who(&bob).await, "b1", "{mode:?}, {names:?}");
        }
    }
}

/// The person comes back within the same second, and by the same moment of a clock.
#[tokio::test]
async fn a_login_that_begins_after_the_logout_lives() {
    for mode in MODES {
        for names in [Names::Sub, Names::Both] {
            let world = mode.world(|config| config);
            let alice = world.signed_in("alice").await;
            assert_eq!(world.back_channel(&token(&world, names, 0)).await.status(), 200);
            world.op.end_sessions();
            world.op.sign_in_as("alice");
            let page = alice.visit(&format!("{APP}/auth/login?return_to=/who")).await;
            assert_eq!(page.json()["sub"], "a1", "{mode:?}, {names:?}: {}", page.text());
            settle(&world);
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}, {names:?}");
        }
    }
}

/// A login that was under way when the logout came: its ID token says whether it is the person's newest word.
#[tokio::test]
async fn a_login_that_was_under_way_lives_if_its_id_token_is_younger() {
    for mode in MODES {
        for younger in [false, true] {
            let world = mode.world(|config| config);
            world.op.sign_in_as("alice");
            let browser = world.browser();
            let gate = Gate::new();
            let fault = if younger { Fault::Gate(gate.clone()) } else { Fault::GateAnswer(gate.clone()) };
            world.net.fault(OP, "/token", fault);
            let login = tokio::spawn({
                let tab = browser.new_tab();
                async move { tab.visit(&format!("{APP}/auth/login?return_to=/who")).await }
            });
            gate.wait_for_arrivals(1).await;
            world.clock.advance(Duration::from_secs(1));
            assert_eq!(world.back_channel(&token(&world, Names::Sub, 0)).await.status(), 200);
            world.clock.advance(Duration::from_secs(1));
            gate.open();
            login.await.unwrap();
            settle(&world);
            let left = if younger { "a1".into() } else { Value::Null };
            assert_eq!(world.who(&browser).await, left, "{mode:?}, younger: {younger}");
        }
    }
}

/// A second token for the same logout that comes late is compared with what stood when it first came.
#[tokio::test]
async fn a_logout_token_that_comes_again_means_what_it_meant_at_first() {
    use crate::support::store::{Trouble, Verb};
    let world = World::new();
    let (store, _app) = world.watched();
    let before = world.signed_in("alice").await;
    let token = token(&world, Names::Sub, 0);
    store.trouble(Verb::Delete, Trouble::Fail);
    assert_eq!(world.back_channel(&token).await.status(), 503);
    store.heal();
    world.clock.advance(Duration::from_secs(2));
    let after = world.signed_in("alice").await;
    assert_eq!(world.back_channel(&token).await.status(), 200);
    settle(&world);
    assert_eq!((world.who(&before).await, world.who(&after).await), (Value::Null, "a1".into()));
}

/// A provider with several algorithms: a logout token is signed as the ID tokens of its sessions were.
#[tokio::test]
async fn a_logout_token_is_signed_like_the_id_tokens() {
    for mode in MODES {
        for names in [Names::Sub, Names::Sid, Names::Both] {
            let world = mode.world(|config| config);
            world.op.set(|op| (op.signing, op.also_publish) = (Alg::Rs256, vec![Alg::Es256]));
            let alice = world.signed_in("alice").await;
            world.op.set(|op| (op.signing, op.also_publish) = (Alg::Es256, vec![Alg::Rs256]));
            let refused = if mode == Mode::Stateless { 200 } else { 400 };
            let status = world.back_channel(&token(&world, names, 0)).await.status();
            assert_eq!(status, refused, "{mode:?}, {names:?}");
            settle(&world);
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}, {names:?}");
            // The control, and a token that means nobody.
            let nobody = names.token(&world, "bob", "unknown", |_| ());
            if names != Names::Sub {
                assert_eq!(world.back_channel(&nobody).await.status(), 200, "{mode:?}, {names:?}");
            }
            world.op.set(|op| (op.signing, op.also_publish) = (Alg::Rs256, vec![Alg::Es256]));
            assert_eq!(world.back_channel(&token(&world, names, 0)).await.status(), 200);
            settle(&world);
            assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}, {names:?}");
        }
    }
}

/// The ID token of a refresh counts as well.
#[tokio::test]
async fn a_logout_token_is_signed_like_one_of_the_id_tokens() {
    for refreshed in [true, false] {
        let world = Mode::PerUser.world(|config| config);
        world.op.set(|op| (op.signing, op.also_publish) = (Alg::Rs256, vec![Alg::Es256]));
        let alice = world.signed_in("alice").await;
        world.op.set(|op| (op.signing, op.also_publish) = (Alg::Es256, vec![Alg::Rs256]));
        if refreshed {
            world.clock.advance(Duration::from_secs(3600));
            assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200);
            world.app.layer.drain().await;
        }
        let status = world.back_channel(&token(&world, Names::Both, 0)).await.status();
        assert_eq!(status, if refreshed { 200 } else { 400 });
        settle(&world);
        assert_eq!(world.who(&alice).await, if refreshed { Value::Null } else { "a1".into() });
    }
}

#[tokio::test]
async fn one_algorithm_can_be_configured() {
    for mode in MODES {
        let world = mode.world(|mut config| {
            config.provider = config.provider.id_token_signed_response_alg("RS256");
            config
        });
        world.op.set(|op| (op.signing, op.also_publish) = (Alg::Es256, vec![Alg::Rs256]));
        world.op.sign_in_as("alice");
        let page = world.browser().visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.status, 400, "{mode:?}: {}", page.text());
        world.op.set(|op| (op.signing, op.also_publish) = (Alg::Rs256, vec![Alg::Es256]));
        let alice = world.signed_in("alice").await;
        world.op.set(|op| (op.signing, op.also_publish) = (Alg::Es256, vec![Alg::Rs256]));
        assert_eq!(world.back_channel(&token(&world, Names::Both, 0)).await.status(), 400, "{mode:?}");
        settle(&world);
        assert_eq!(world.who(&alice).await, "a1", "{mode:?}");
        world.op.set(|op| (op.signing, op.also_publish) = (Alg::Rs256, vec![Alg::Es256]));
        assert_eq!(world.back_channel(&token(&world, Names::Both, 0)).await.status(), 200, "{mode:?}");
        settle(&world);
        assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
    }
}

const CONNECT: &str = "https://app.test/auth/connect?connection=login&return_to=/who";

/// The provider's session had run out. The person signs in there again, the provider ends its old session and says so, and
/// what comes of the renewal is a login.
#[tokio::test]
async fn a_renewal_whose_session_the_provider_ended_is_a_login() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        for names in [Names::Sid, Names::Both] {
            let world = mode.world(|config| config);
            let alice = world.signed_in("alice").await;
            let to_provider = alice.step(CONNECT).await;
            world.clock.advance(Duration::from_secs(5));
            assert_eq!(world.back_channel(&token(&world, names, 0)).await.status(), 200);
            settle(&world);
            assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
            world.op.end_sessions();
            world.op.sign_in_as("alice");
            let page = alice.visit(to_provider.location().unwrap()).await;
            assert_eq!((page.status.as_u16(), &page.json()["sub"]), (200, &"a1".into()), "{mode:?}: {}", page.text());
            assert_eq!(world.app.events.count(EventCode::LoginSucceeded), 2, "{mode:?}");
            settle(&world);
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}");
            assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_renewal_by_somebody_else_begins_again_as_a_login() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = mode.world(|config| config);
        let alice = world.signed_in("alice").await;
        let to_provider = alice.step(CONNECT).await;
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(world.back_channel(&token(&world, Names::Both, 0)).await.status(), 200);
        world.op.end_sessions();
        world.op.sign_in_as("bob");
        let page = alice.visit(to_provider.location().unwrap()).await;
        assert_eq!(page.json()["sub"], "b1", "{mode:?}: {}", page.text());
        let begun = page.hops_at(APP).iter().filter(|hop| hop.url.path() == "/auth/login").count();
        assert_eq!(begun, 1, "{mode:?}");
    }
}

/// The control: whoever signed out here meanwhile gets nothing.
#[tokio::test]
async fn a_renewal_after_an_own_logout_stays_refused() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = mode.world(|config| config);
        let alice = world.signed_in("alice").await;
        let to_provider = alice.step(CONNECT).await;
        let link = crate::support::app::logout_link(&alice, "/bye").await;
        alice.new_tab().step(&link).await;
        world.op.sign_in_as("alice");
        let page = alice.visit(to_provider.location().unwrap()).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (400, "/auth/callback"), "{mode:?}: {}", page.text());
        assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
    }
}
