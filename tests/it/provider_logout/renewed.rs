//! A session whose person has signed in at the provider again since, or whose tokens were refreshed: a logout that names
//! any of the provider's sessions ends it, and our own logout sends the newest ID token.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tower_oidc::{Connection, EventCode, ProviderConfig, Resource, SharedAccount};
use url::Url;

use super::{MODES, Mode, NAMES, Names, serve};
use crate::single_user::app::start;
use crate::single_user::operator::connect_as;
use crate::support::app::{API, APP, OP, OP2, World, logout_link};
use crate::support::browser::Browser;
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};

const CONNECT: &str = "https://app.test/auth/connect?connection=login&return_to=/who";

/// How the provider's session changes under a session that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// The grant is renewed in the browser.
    Consent,
    /// The person signs in again in the same browser.
    Login,
    /// An ID token of a refresh names another session.
    Refresh,
}

impl Renewal {
    /// In single-user mode people grant nothing, and have no tokens of their own.
    fn of(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::PerUser | Mode::Stateless => &[Self::Consent, Self::Login, Self::Refresh],
            Mode::SingleUser => &[Self::Login],
        }
    }

    /// Returns the new session at the provider.
    async fn renew(self, world: &World, browser: &Browser) -> String {
        world.op.sign_in_as("alice");
        world.op.end_sessions();
        match self {
            Self::Consent => {
                let page = browser.visit(CONNECT).await;
                assert_eq!(page.json()["sub"], "a1", "{}", page.text());
            }
            Self::Login => world.sign_in(browser, "alice").await,
            Self::Refresh => {
                world.op.edit_refreshed_id_token(|jwt| jwt.claim("sid", "sid-of-a-refresh"));
                world.clock.advance(Duration::from_secs(3600));
                assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
                world.app.layer.drain().await;
                return "sid-of-a-refresh".to_owned();
            }
        }
        world.op.sids_of("alice").pop().unwrap()
    }
}

fn session_ids(world: &World, user: &str) -> String {
    world.op.sids_of(user).pop().unwrap()
}

/// Nobody believes for longer what they were told before.
fn settle(world: &World) {
    world.clock.advance(Duration::from_secs(3));
}

#[tokio::test]
async fn any_of_the_sessions_at_the_provider_ends_it() {
    for mode in MODES {
        for renewal in Renewal::of(mode) {
            for names in NAMES {
                for newest in [false, true] {
                    let what = format!("{mode:?}, {renewal:?}, {names:?}, the newest: {newest}");
                    let world = mode.world(|config| config);
                    let other = world.signed_in("alice").await;
                    let bob = world.signed_in("bob").await;
                    let alice = world.signed_in("alice").await;
                    let first = session_ids(&world, "alice");
                    world.clock.advance(Duration::from_secs(60));
                    let second = renewal.renew(&world, &alice).await;
                    assert_ne!(first, second, "{what}");
                    settle(&world);
                    // Another person's ends nothing, and what nobody knows ends nothing.
                    for sid in [&session_ids(&world, "bob"), "unknown"] {
                        let token = Names::Both.token(&world, "alice", sid, |_| ());
                        assert_eq!(world.back_channel(&token).await.status(), 200, "{what}: {sid}");
                        settle(&world);
                        assert_eq!(world.who(&alice).await, "a1", "{what}: {sid}");
                    }
                    let sid = if newest { &second } else { &first };
                    let token = names.token(&world, "alice", sid, |_| ());
                    assert_eq!(world.back_channel(&token).await.status(), 200, "{what}");
                    settle(&world);
                    assert_eq!(world.who(&alice).await, Value::Null, "{what}");
                    assert_eq!(world.who(&bob).await, "b1", "{what}");
                    let left = if names == Names::Sub { Value::Null } else { "a1".into() };
                    assert_eq!(world.who(&other).await, left, "{what}: her other session");
                }
            }
        }
    }
}

#[tokio::test]
async fn any_of_the_sessions_at_the_provider_ends_it_by_the_front_channel() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        for renewal in Renewal::of(mode) {
            for newest in [false, true] {
                let what = format!("{mode:?}, {renewal:?}, the newest: {newest}");
                let world = mode.world(|config| mode.with_front_channel(config));
                let (other, alice) = (world.signed_in("alice").await, world.signed_in("alice").await);
                let first = session_ids(&world, "alice");
                world.clock.advance(Duration::from_secs(60));
                let second = renewal.renew(&world, &alice).await;
                let sid = if newest { &second } else { &first };
                let address = format!("{APP}/auth/frontchannel-logout?iss={OP}&sid={sid}");
                assert_eq!(other.iframe(&address, OP).await.status, 200, "{what}");
                settle(&world);
                assert_eq!(world.who(&alice).await, Value::Null, "{what}");
                assert_eq!(world.who(&other).await, "a1", "{what}: her other session");
            }
        }
    }
}

/// The session at the provider that the hint of our own logout is of, and when it was issued.
async fn hint(browser: &Browser) -> (String, u64) {
    let link = logout_link(browser, "/").await;
    let leaving = browser.step(&link).await;
    let location = Url::parse(leaving.location().unwrap()).unwrap();
    let hint = location.query_pairs().find(|(name, _)| name == "id_token_hint").unwrap().1.into_owned();
    let payload = URL_SAFE_NO_PAD.decode(hint.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    (payload["sid"].as_str().unwrap().to_owned(), payload["iat"].as_u64().unwrap())
}

#[tokio::test]
async fn our_own_logout_sends_the_newest_id_token() {
    for mode in MODES {
        for renewal in Renewal::of(mode) {
            let world = mode.world(|config| config);
            let alice = world.signed_in("alice").await;
            let began = world.clock.now();
            world.clock.advance(Duration::from_secs(60));
            let newest = renewal.renew(&world, &alice).await;
            let renewed = world.clock.now();
            assert!(renewed > began);
            // Another process, which knows its provider: it has what the store or the browser keeps.
            let _second = mode.app(&world, |config| config);
            world.signed_in("bob").await;
            assert_eq!(hint(&alice).await, (newest, renewed), "{mode:?}, {renewal:?}");
        }
    }
}

/// What one process learned is known at another: by its store, or by the cookie.
#[tokio::test]
async fn another_process_ends_it_too() {
    for mode in MODES {
        for renewal in Renewal::of(mode) {
            let world = mode.world(|config| config);
            let alice = world.signed_in("alice").await;
            let second = mode.app(&world, |config| config);
            assert_eq!(world.who(&alice).await, "a1");
            serve(&world, &world.app);
            world.clock.advance(Duration::from_secs(60));
            let sid = renewal.renew(&world, &alice).await;
            serve(&world, &second);
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}, {renewal:?}");
            let token = Names::Sid.token(&world, "alice", &sid, |_| ());
            assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}, {renewal:?}");
            settle(&world);
            for process in [&world.app, &second] {
                serve(&world, process);
                assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}, {renewal:?}");
            }
        }
    }
}

/// Five stay: the sixth pushes the oldest out.
#[tokio::test]
async fn the_sixth_pushes_the_oldest_out() {
    for mode in MODES {
        let world = mode.world(|config| config);
        let alice = world.signed_in("alice").await;
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(60));
            Renewal::of(mode)[0].renew(&world, &alice).await;
        }
        let sids = world.op.sids_of("alice");
        assert_eq!(sids.len(), 6);
        for (position, left) in [(0, Value::from("a1")), (1, Value::Null)] {
            let token = Names::Both.token(&world, "alice", &sids[position], |_| ());
            assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}: {position}");
            settle(&world);
            assert_eq!(world.who(&alice).await, left, "{mode:?}: {position}");
        }
    }
}

/// The provider is told 200, and the operator is told that nobody was signed out.
#[tokio::test]
async fn a_logout_token_that_matches_nothing_is_an_event() {
    for mode in [Mode::PerUser, Mode::SingleUser] {
        for names in NAMES {
            let world = mode.world(|config| config);
            let bob = world.signed_in("bob").await;
            let token = names.token(&world, "alice", "unknown", |_| ());
            assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}, {names:?}");
            assert_eq!(world.app.events.count(EventCode::LogoutUnmatched), 1, "{mode:?}, {names:?}");
            let token = names.token(&world, "bob", &session_ids(&world, "bob"), |_| ());
            assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}, {names:?}");
            settle(&world);
            assert_eq!(world.who(&bob).await, Value::Null);
            assert_eq!(world.app.events.count(EventCode::LogoutUnmatched), 1, "{mode:?}, {names:?}");
        }
    }
}

/// What another person leaves behind in the same browser is not the next one's.
#[tokio::test]
async fn the_sessions_of_another_person_are_not_taken_over() {
    for mode in MODES {
        let world = mode.world(|config| config);
        let browser = world.signed_in("alice").await;
        let hers = session_ids(&world, "alice");
        world.sign_in(&browser, "bob").await;
        world.clock.advance(Duration::from_secs(60));
        let token = world.op.logout_token(CLIENT_ID, "bob", Some(&hers), |_| ());
        for token in [token, Names::Sid.token(&world, "alice", &hers, |_| ())] {
            assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}");
            settle(&world);
            assert_eq!(world.who(&browser).await, "b1", "{mode:?}");
        }
        let his = session_ids(&world, "bob");
        let token = Names::Both.token(&world, "bob", &his, |_| ());
        assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}");
        settle(&world);
        assert_eq!(world.who(&browser).await, Value::Null, "{mode:?}");
    }
}

/// A session at another provider, where an account is linked, is none of the login's: neither provider's logout of it ends
/// anything, though both know an `a1`.
#[tokio::test]
async fn the_session_at_another_provider_is_not_the_logins() {
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = mode.world(|config| {
            let files = Connection::new("files").grant_lifetime(tower_oidc::GrantLifetime::Session);
            let files = files.resource(Resource::new("files", format!("{API}/files/")).scope("files"));
            let work = ProviderConfig::new(OP2, CLIENT_ID).client_secret(CLIENT_SECRET).name("work").without_login();
            config.add_provider(work.connection(files))
        });
        let alice = world.signed_in("alice").await;
        world.op2.sign_in_as("alice");
        let page = alice.visit(&format!("{APP}/auth/connect?connection=files&return_to=/who")).await;
        assert_eq!(page.json()["sub"], "a1", "{}", page.text());
        let linked = world.op2.sids_of("alice").pop().unwrap();
        world.clock.advance(Duration::from_secs(60));
        for op in [&world.op, &world.op2] {
            let token = op.logout_token(CLIENT_ID, "alice", Some(&linked), |jwt| jwt.without("sub"));
            let status = world.back_channel(&token).await.status();
            assert!(status == 200 || status == 400, "{mode:?}: {status}");
            settle(&world);
            assert_eq!(world.who(&alice).await, "a1", "{mode:?}: {}", op.issuer());
        }
        let token = Names::Sid.token(&world, "alice", &session_ids(&world, "alice"), |_| ());
        assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}");
        settle(&world);
        assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
    }
}

/// An admin who connects the account with the account that they are signed in with.
#[tokio::test]
async fn an_admin_who_connects_their_own_account_is_found_by_it() {
    for (account, ends) in [("alice", true), ("bob", false)] {
        let world = World::new();
        let store = crate::single_user::app::Durable(world.app.store.clone());
        start(&world, SharedAccount::connected_by_admin(), store, |config| config);
        let alice = world.signed_in("alice").await;
        world.op.end_sessions();
        connect_as(&world, &alice, account).await;
        let sid = session_ids(&world, account);
        world.clock.advance(Duration::from_secs(60));
        let token = world.op.logout_token(CLIENT_ID, account, Some(&sid), |jwt| jwt.without("sub"));
        assert_eq!(world.back_channel(&token).await.status(), 200);
        settle(&world);
        let left = if ends { Value::Null } else { "a1".into() };
        assert_eq!(world.who(&alice).await, left, "{account}");
    }
}

/// The provider signs the person out of the new session before the renewal is written: nothing of it is kept.
#[tokio::test]
async fn a_renewal_that_its_provider_ended_meanwhile_ends_the_session() {
    use crate::support::fault::{Fault, Gate};
    for mode in [Mode::PerUser, Mode::Stateless] {
        let world = mode.world(|config| config);
        let alice = world.signed_in("alice").await;
        world.clock.advance(Duration::from_secs(60));
        world.op.end_sessions();
        let gate = Gate::new();
        world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
        let renewing = tokio::spawn({
            let tab = alice.new_tab();
            async move { tab.visit(CONNECT).await }
        });
        gate.wait_for_arrivals(1).await;
        world.clock.advance(Duration::from_secs(1));
        let sid = session_ids(&world, "alice");
        let token = Names::Sid.token(&world, "alice", &sid, |_| ());
        assert_eq!(world.back_channel(&token).await.status(), 200, "{mode:?}");
        gate.open();
        assert_eq!(renewing.await.unwrap().status, 400, "{mode:?}");
        world.net.heal(OP);
        settle(&world);
        assert_eq!(world.who(&alice).await, Value::Null, "{mode:?}");
    }
}
