//! What was changed, moved or mixed counts as missing, and breaks nothing. What is too large
//! is said, and never cut off.

use http::header::SET_COOKIE;
use tower_oidc::EventCode;

use super::{HOUR, cookies_of, session_cookie, with_claims};
use crate::support::app::{APP, App, OP, SESSION, World, logout_link, routes};
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;
use crate::support::fault::{Fault, Gate};

fn put(browser: &Browser, name: &str, value: &str) {
    browser.set_cookie(APP, &format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600"));
}

/// Where tokens of 4.5 KB are carried, past proxies that take them.
fn roomy() -> World {
    let world = World::stateless_with(|mut config| {
        config.max_cookie_bytes = 12 * 1024;
        config
    });
    world.op.set(|op| op.access_token_padding = 4_500);
    world
}

async fn signed_in(world: &World, name: &str) -> Browser {
    let browser = Browser::new(&world.net, &world.clock);
    world.sign_in(&browser, name).await;
    browser
}

/// The value with another character at this position.
fn flipped(value: &str, at: usize) -> String {
    let mut bytes = value.as_bytes().to_owned();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

fn refusal(text: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}

/// The claims belong to the session: whoever leaves them at home, or brings others, is not signed in.
#[tokio::test]
async fn a_session_without_its_claims_is_none() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let session = session_cookie(&alice);
    world.op.user("alice", |user| drop(user.claims.insert("suspended".into(), true.into())));
    let another = world.signed_in("alice").await;
    let theirs = cookies_of(&another, "claims.");
    let name = cookies_of(&alice, "claims.")[0].name.clone();
    let forged = with_claims(&session, &alice);
    let flip = flipped(&forged, forged.len() - 20);
    for (without, why) in [
        (session.clone(), "none"),
        (format!("{session}; {name}={}", theirs[0].value), "another session's"),
        (with_claims(&session, &another), "another session's, under their name"),
        (flip, "changed"),
        (format!("{session}; {name}="), "empty"),
        (format!("{session}; {name}x={}", cookies_of(&alice, "claims.")[0].value), "another name"),
    ] {
        for _ in 0..2 {
            assert_eq!(world.who_is(&without).await, serde_json::Value::Null, "{why}");
            assert_eq!(world.who_is(&with_claims(&session, &alice)).await, "a1", "the control");
        }
    }
    assert_eq!(world.who(&alice).await, "a1");
    assert_eq!(world.who(&another).await, "a1");
    // Nobody is kept from signing in again.
    alice.with_jar(|jar| jar.all_mut().retain(|cookie| !cookie.name.contains("-claims.")));
    assert_eq!(world.who(&alice).await, serde_json::Value::Null);
    world.sign_in(&alice, "alice").await;
}

#[tokio::test]
async fn a_session_with_any_byte_changed_is_none() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let session = session_cookie(&alice);
    for at in 0..session.len() {
        let changed = flipped(&session, at);
        let changed = with_claims(&changed, &alice);
        assert_eq!(world.who_is(&changed).await, serde_json::Value::Null, "{at}");
    }
    for junk in ["", "1", "9", "0", &session[1..], &session[..session.len() - 1], "not base64 at all!", &"1".repeat(60)]
    {
        let junk = with_claims(junk, &alice);
        assert_eq!(world.who_is(&junk).await, serde_json::Value::Null, "{junk}");
    }
    assert_eq!(world.who_is(&with_claims(&session, &alice)).await, "a1", "the control");
    assert!(world.app.events.has(EventCode::Tampered));
}

#[tokio::test]
async fn a_grant_with_a_byte_changed_is_missing() {
    let world = roomy();
    let alice = signed_in(&world, "alice").await;
    let chunks = cookies_of(&alice, "grant");
    assert_eq!(chunks.len(), 2, "a token of 4.5 KB takes two");
    for chunk in &chunks {
        for at in (0..chunk.value.len()).step_by(97).chain([chunk.value.len() - 1]) {
            alice.tamper(&chunk.name, |_| flipped(&chunk.value, at));
            let (status, text) = world.tok(&alice).await;
            assert_eq!((status, refusal(&text).as_str()), (403, "consent_required"), "{} {at}", chunk.name);
        }
        alice.tamper(&chunk.name, |_| chunk.value.clone());
    }
    world.token_of(&alice, "alice").await;
    // One chunk less.
    let jar = alice.clone_jar();
    alice.set_cookie(APP, &format!("{}=; Path=/; Secure; Max-Age=0", chunks[1].name));
    assert_eq!(world.tok(&alice).await.0, 403);
    alice.replace_jar(jar);
    world.token_of(&alice, "alice").await;
    assert_eq!(world.op.refreshes().len(), 0);
}

#[tokio::test]
async fn cookies_of_two_browsers_do_not_mix() {
    let world = roomy();
    let (alice, bob) = (signed_in(&world, "alice").await, signed_in(&world, "bob").await);
    let (hers, his) = (cookies_of(&alice, "grant"), cookies_of(&bob, "grant"));
    let put_at = |own: &[Cookie], others: &[Cookie], which: usize| {
        for (at, (own, other)) in own.iter().zip(others).enumerate() {
            put(&bob, &own.name, if which >> at & 1 == 1 { &other.value } else { &own.value });
        }
    };
    for which in 1..4 {
        put_at(&his, &hers, which);
        assert_eq!(world.tok(&bob).await.0, 403, "{which:02b}");
    }
    put_at(&his, &hers, 0);
    // Hers beside his, under her names: nothing asks for them.
    for cookie in hers.iter().chain(&cookies_of(&alice, "claims")) {
        put(&bob, &cookie.name, &cookie.value);
    }
    world.token_of(&bob, "bob").await;
    // Her session in his browser is hers, with nothing of his.
    put(&bob, SESSION, &session_cookie(&alice));
    assert_eq!(world.who(&bob).await, "a1");
    world.token_of(&bob, "alice").await;
}

#[tokio::test]
async fn chunks_of_two_generations_do_not_mix() {
    let world = roomy();
    let alice = signed_in(&world, "alice").await;
    let old = cookies_of(&alice, "grant");
    world.clock.advance(HOUR);
    assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200);
    let new = cookies_of(&alice, "grant");
    put(&alice, &old[1].name, &old[1].value);
    // The process still has what it refreshed: nothing is lost, and nothing is spent.
    world.token_of(&alice, "alice").await;
    // One that knows nothing of it sees no grant.
    let restarted = App::stateless(&world.net, &world.clock, |config| config);
    world.net.serve_service(APP, restarted.layer.layer(routes()));
    assert_eq!(world.tok(&alice).await.0, 403);
    put(&alice, &new[1].name, &new[1].value);
    world.token_of(&alice, "alice").await;
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));
}

/// What is on its way for one person arrives when another has signed in, in every order.
#[tokio::test]
async fn late_answers_for_one_person_do_not_mix_with_another() {
    let world = World::stateless();
    let browser = world.signed_in("alice").await;
    world.clock.advance(HOUR);
    // It left in time, with a grant that was refreshed.
    let left = world.ask(APP, &browser, "/tok").await.unwrap();
    assert!(left.headers().contains_key(SET_COOKIE));
    // It is still at the provider.
    world.clock.advance(HOUR);
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()).once());
    let waiting = tokio::spawn(world.ask(APP, &browser, "/tok"));
    gate.wait_for_arrivals(1).await;
    let link = logout_link(&browser, "/who").await;
    browser.navigate(&link).await;
    world.sign_in(&browser, "bob").await;
    gate.open();
    let late = waiting.await.unwrap().unwrap();
    assert_eq!(late.status(), 401, "she has signed out meanwhile");
    assert!(!late.headers().contains_key(SET_COOKIE), "{:?}", late.headers());
    for header in left.headers().get_all(SET_COOKIE) {
        browser.set_cookie(APP, header.to_str().unwrap());
    }
    assert_eq!(world.who(&browser).await, "b1");
    world.token_of(&browser, "bob").await;
    // What came late goes with the next answer that sets something.
    world.clock.advance(HOUR);
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
    assert_eq!(cookies_of(&browser, "grant").len(), 1);
}

/// A session that ended while its request was under way is not sealed anew by the answer.
#[tokio::test]
async fn a_late_answer_brings_no_session_back() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    world.clock.advance(HOUR * 6);
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()).once());
    let waiting = tokio::spawn(world.ask(APP, &alice, "/tok"));
    gate.wait_for_arrivals(1).await;
    let link = logout_link(&alice, "/who").await;
    alice.navigate(&link).await;
    gate.open();
    let late = waiting.await.unwrap().unwrap();
    assert!(!late.headers().contains_key(SET_COOKIE), "{:?}", late.headers());
}

#[tokio::test]
async fn what_is_too_large_is_said() {
    let world = World::stateless_with(|mut config| {
        config.provider.revocation_is_per_token = true;
        config
    });
    // 8 KB, as nothing that could be packed.
    world.op.set(|op| op.access_token_padding = 8_000);
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.status, 502, "{}", page.text());
    let said = page.text();
    assert!(said.contains("of 6144") && said.contains("fewer scopes"), "{said}");
    assert_eq!((cookies_of(&browser, "session").len(), cookies_of(&browser, "grant").len()), (0, 0));
    let refused = world.app.events.all().into_iter().find(|event| event.code == EventCode::LoginRefused);
    let detail = refused.unwrap().detail;
    assert!(detail.contains("max_cookie_bytes") && detail.contains("per_user"), "{detail}");
    assert!(detail.contains("the claims ") && detail.contains("the tokens 1"), "how much of what: {detail}");
    assert_eq!(world.op.revocations().len(), 1, "nobody will use them");
    // With room for it, it is carried whole.
    let roomy = App::stateless(&world.net, &world.clock, |mut config| {
        config.max_cookie_bytes = 16 * 1024;
        config
    });
    world.net.serve_service(APP, roomy.layer.layer(routes()));
    let browser = signed_in(&world, "alice").await;
    world.token_of(&browser, "alice").await;
    assert!(browser.rejected_cookies().is_empty());
}

/// A grant that outgrows the cookies later stays where the process has it.
#[tokio::test]
async fn a_grant_that_grows_is_not_lost() {
    let world = World::stateless();
    let alice = world.signed_in("alice").await;
    let grant = || cookies_of(&alice, "grant")[0].value.clone();
    let before = grant();
    world.op.set(|op| op.access_token_padding = 8_000);
    world.clock.advance(HOUR);
    for _ in 0..3 {
        assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200);
    }
    assert_eq!(grant(), before);
    assert!(world.app.events.has(EventCode::CookiesTooLarge));
    world.op.set(|op| op.access_token_padding = 0);
    world.clock.advance(HOUR);
    assert_eq!(alice.navigate(&format!("{APP}/tok")).await.status, 200);
    assert_ne!(grant(), before);
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2, 0));
}
