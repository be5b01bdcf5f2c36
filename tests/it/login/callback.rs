//! Nothing is exchanged before state and issuer hold, and a code is spent once.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tower_oidc::EventCode;

use super::{PENDING, SESSION, Untouched, assert_refused, callback_of, edited, login, pending, session, who};
use crate::support::app::{APP, App, OP, World, logout_link, routes};
use crate::support::fault::{Fault, Gate};
use crate::support::params::Params;

/// Each bad state, beside the good one.
#[tokio::test]
async fn state_comes_before_the_exchange() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let (alice, mallory) = (world.browser(), world.browser());
    let stolen = callback_of(&mallory, &login("/who")).await;
    let own = callback_of(&alice, &login("/who")).await;
    let before = Untouched::now(&world);
    let set = |state: &'static str| edited(&own, |p| p.set("state", state));
    for (why, callback) in [
        ("no state", edited(&own, |p| p.remove("state"))),
        ("an empty state", set("")),
        ("an unknown state", set("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("a short state", set("AAAA")),
        ("no state of ours", set("\u{fffd}\u{0}; Path=/")),
        (
            "the cookie's name alone",
            edited(&own, |p| {
                let state = format!("{}{}", &p.get("state").unwrap()[..8], "A".repeat(35));
                p.set("state", state);
            }),
        ),
        (
            "the state and more",
            edited(&own, |p| {
                let state = format!("{}A", p.get("state").unwrap());
                p.set("state", state);
            }),
        ),
        ("another browser's callback", stolen.clone()),
    ] {
        let page = alice.navigate(&callback).await;
        assert_refused(&alice, &page, 400, why);
        assert_eq!(Untouched::now(&world), before, "{why}");
    }
    assert_eq!(who(&alice).await, None);
    assert_eq!(alice.navigate(&own).await.json()["sub"], "a1", "the honest one goes through all the same");
    assert_eq!(world.app.events.count(EventCode::LoginRefused), 8);
}

#[tokio::test]
async fn state_expired() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    for (seconds, status) in [(599, 200), (601, 400), (1201, 400)] {
        let callback = callback_of(&browser, &login("/links?to=/")).await;
        world.clock.advance(Duration::from_secs(seconds));
        // The provider's code lives for a minute only.
        let fresh = world.browser();
        let code = callback_of(&fresh, &login("/")).await;
        let code = Params::parse(code.split_once('?').unwrap().1).get("code").unwrap().to_owned();
        let before = Untouched::now(&world);
        let page = browser.navigate(&edited(&callback, |p| p.set("code", code))).await;
        if status == 200 {
            // Another login's code: PKCE refuses it, after the state was found good.
            assert_eq!(world.op.code_exchanges().len(), before.exchanges + 1);
        } else {
            assert_refused(&browser, &page, status, "expired");
            assert_eq!(world.op.code_exchanges().len(), before.exchanges);
        }
    }
}

/// An expired login still knows where it was going, and a browser that is signed in by now goes there.
#[tokio::test]
async fn a_late_callback_lands_where_it_was_going_for_who_is_signed_in() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let late = callback_of(&browser, &login("/links?to=/late")).await;
    world.clock.advance(Duration::from_secs(11 * 60));
    let page = browser.navigate(&late).await;
    assert_refused(&browser, &page, 400, "nobody is signed in");
    assert_eq!(page.links(), ["/auth/login?return_to=%2Flinks%3Fto%3D%2Flate"], "again, to the same place");
    world.sign_in(&browser, "alice").await;
    let before = (session(&browser), Untouched::now(&world));
    assert_eq!(browser.navigate(&late).await.path_and_query(), "/links?to=/late");
    assert_eq!((session(&browser), Untouched::now(&world)), before, "nothing was exchanged");
    let bob = world.signed_in("bob").await;
    assert_eq!(bob.navigate(&late).await.status, 400, "the place is this browser's to know");
}

/// Whatever is not this login's own cookie, whole and in its place.
#[tokio::test]
async fn the_pending_cookie_is_broken_or_another() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let other = callback_of(&browser, &login("/")).await;
    let state_of =
        |callback: &str| Params::parse(callback.split_once('?').unwrap().1).get("state").unwrap()[..8].to_owned();
    let other_value = browser.cookie(&format!("{PENDING}{}", state_of(&other))).unwrap().value;
    let logged_in = world.signed_in("bob").await;
    let links = logged_in.navigate(&format!("{APP}/links?to=/")).await.json();
    logged_in.step(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await;
    let logout = logged_in.cookies().into_iter().find(|c| c.name.contains("-logout-")).unwrap().value;
    let session = session(&world.signed_in("bob").await).unwrap();
    world.op.sign_in_as("alice");
    let callback = callback_of(&browser, &login("/who")).await;
    let name = format!("{PENDING}{}", state_of(&callback));
    let good = browser.cookie(&name).unwrap().value;
    let flip = |at: usize| {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let flips = [0, 3, 8, 20, good.len() / 2, good.len() - 3].map(flip);
    let before = Untouched::now(&world);
    let wrong: [&str; 8] = ["", "A", "garbage", &good[..good.len() / 2], &good[4..], &other_value, &logout, &session];
    for value in wrong.into_iter().chain(flips.iter().map(String::as_str)) {
        browser.tamper(&name, |_| value.to_owned());
        let page = browser.navigate(&callback).await;
        assert_refused(&browser, &page, 400, value);
        assert_eq!(Untouched::now(&world), before, "{value}");
    }
    browser.with_jar(|jar| jar.all_mut().retain(|cookie| cookie.name != name));
    assert_refused(&browser, &browser.navigate(&callback).await, 400, "no cookie");
    browser.set_cookie(APP, &format!("{name}={good}; Secure; Path=/"));
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1", "the control");
}

/// Within one application: the login of another registration is not ours, although its seal opens.
#[tokio::test]
async fn a_login_of_another_registration() {
    let world = World::new();
    world.op.sign_in_as("alice");
    world.op.register("other", Some("another client's secret"));
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let before = Untouched::now(&world);
    let other = world.another(|mut config| {
        config.provider.client_id = "other".to_owned();
        config.provider.client_secret = Some("another client's secret".into());
        config
    });
    assert_refused(&browser, &browser.navigate(&callback).await, 400, "another client");
    assert_eq!(Untouched::now(&world), before);
    drop(other);
    world.another(|config| config);
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1", "the control, after a restart");
}

#[tokio::test]
async fn the_verifier_goes_with_the_code() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    browser.visit(&login("/who")).await;
    let exchange = world.op.code_exchanges().pop().unwrap();
    assert_eq!(exchange.outcome, Ok("alice".to_owned()));
    assert_eq!(exchange.params.get("code_verifier").map(str::len), Some(43));
    assert_eq!(exchange.params.get("redirect_uri"), Some("https://app.test/auth/callback"));
}

/// Where the provider's lies do not reach: methods and encodings of the callback.
#[tokio::test]
async fn only_the_response_that_was_asked_for() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let before = Untouched::now(&world);
    let (bare, answer) = callback.split_once('?').unwrap();
    // With the login's cookie, which a cross-site POST would not even carry.
    for (why, address, body) in [
        ("a POST", bare, answer),
        ("a POST with both", &callback, answer),
        ("an empty POST", bare, ""),
        ("an empty POST with a query", &callback, ""),
    ] {
        let request = Request::post(address).header("content-type", "application/x-www-form-urlencoded");
        let posted = browser.raw_with_cookies(request.body(body.to_owned().into()).unwrap()).await;
        assert_eq!(posted.status(), 400, "{why}");
    }
    assert_refused(&browser, &browser.navigate(&callback.replace('?', "#")).await, 400, "a fragment");
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS"] {
        let request = Request::builder().method(method).uri(&callback).body(Bytes::new()).unwrap();
        let answer = browser.raw_with_cookies(request).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"GET, POST".parse().unwrap()));
    }
    assert_eq!(Untouched::now(&world), before);
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1", "the control");
}

/// The browser's back button.
#[tokio::test]
async fn the_same_callback_twice() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let jar = browser.clone_jar();
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
    assert!(pending(&browser).is_empty(), "its cookie is gone");
    let before = session(&browser);
    assert_eq!(browser.navigate(&callback).await.status, 400);
    assert_eq!(who(&browser).await.as_deref(), Some("a1"), "and still signed in");
    assert_eq!(session(&browser), before);
    // With the cookie, as in a browser that had not got the first answer yet, also after a restart.
    world.another(|config| config);
    browser.replace_jar(jar);
    let again = browser.navigate(&callback).await;
    assert_eq!((again.path_and_query(), again.text().as_str()), ("/who", "null"));
    assert!(browser.cookie(SESSION).is_none());
    assert_eq!((world.op.code_exchanges().len(), world.op.code_reuse_detected()), (1, 0));
}

/// The connection breaks before the answer comes, and the browser sends the callback once more.
#[tokio::test]
async fn a_callback_whose_answer_was_lost_is_repeated() {
    /// What happens between the two.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Between {
        Nothing,
        AMinute,
        TheSessionIsShown,
        ALogout,
    }
    use Between::*;
    for between in [Nothing, AMinute, TheSessionIsShown, ALogout] {
        let world = World::new();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        let callback = callback_of(&browser, &login("/who")).await;
        let jar = browser.clone_jar();
        let lost = browser.step(&callback).await;
        assert_eq!(lost.status, 303);
        match between {
            Nothing => world.clock.advance(Duration::from_secs(59)),
            AMinute => world.clock.advance(Duration::from_secs(60)),
            TheSessionIsShown => assert_eq!(who(&browser).await.as_deref(), Some("a1")),
            ALogout => {
                let link = logout_link(&browser, "/").await;
                browser.visit(&link).await;
            }
        }
        browser.replace_jar(jar);
        let again = browser.step(&callback).await;
        assert_eq!((again.status.as_u16(), again.location()), (303, Some("/who")), "{between:?}");
        let expected = (between == Nothing).then_some("a1");
        assert_eq!(who(&browser).await.as_deref(), expected, "{between:?}");
        assert_eq!((world.op.code_exchanges().len(), world.op.code_reuse_detected()), (1, 0));
        if between == Nothing {
            assert!(pending(&browser).is_empty(), "its cookie is gone");
            assert_eq!(world.app.events.count(EventCode::LoginSucceeded), 1);
        }
    }
}

#[tokio::test]
async fn the_same_callback_at_once() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::Gate(gate.clone()));
    let other = world.another(|config| config);
    let cookies: Vec<_> = browser.cookies_for(APP).iter().map(ToString::to_string).collect();
    let mut sent = tokio::task::JoinSet::new();
    for at in 0..6 {
        // Two processes take turns.
        let app = if at % 2 == 0 { &world.app } else { &other };
        world.net.serve_service(APP, app.layer.layer(routes()));
        let request = Request::get(&callback).header("cookie", cookies.join("; "));
        let (browser, request) = (browser.clone(), request.body(Bytes::new()).unwrap());
        sent.spawn(async move { browser.raw(request).await });
        tokio::task::yield_now().await;
    }
    let signs_in = |answer: &http::Response<Bytes>| {
        assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/who".parse().unwrap()));
        let mut set = answer.headers().get_all("set-cookie").iter();
        set.any(|set| set.to_str().unwrap().starts_with(SESSION))
    };
    gate.wait_for_arrivals(1).await;
    for _ in 0..5 {
        assert!(!signs_in(&sent.join_next().await.unwrap().unwrap()), "those that have nothing to do are done");
    }
    gate.open();
    assert!(signs_in(&sent.join_next().await.unwrap().unwrap()));
    assert_eq!((gate.arrived(), world.op.code_exchanges().len(), world.op.code_reuse_detected()), (1, 1, 0));
}

/// The browser hangs up while the code is exchanged: the login ends all the same, and nothing runs twice.
#[tokio::test]
async fn a_browser_that_goes_away_does_not_stop_the_exchange() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let gate = Gate::new();
    world.net.fault(OP, "/token", Fault::GateAnswer(gate.clone()));
    let tab = browser.new_tab();
    let opened = tokio::spawn(async move { tab.navigate(&callback).await });
    gate.wait_for_arrivals(1).await;
    opened.abort();
    assert!(opened.await.unwrap_err().is_cancelled());
    gate.open();
    world.app.layer.drain().await;
    assert_eq!(world.app.events.count(EventCode::LoginSucceeded), 1);
}

/// Code and state of two logins mixed, and somebody else's code in one's own login.
#[tokio::test]
async fn codes_and_states_of_two_logins() {
    let world = World::new();
    let (alice, mallory) = (world.browser(), world.browser());
    let code = |callback: &str| Params::parse(callback.split_once('?').unwrap().1).get("code").unwrap().to_owned();
    world.op.sign_in_as("alice");
    let (first, second) = (callback_of(&alice, &login("/")).await, callback_of(&alice, &login("/")).await);
    world.op.sign_in_as("bob");
    let hers = callback_of(&mallory, &login("/")).await;
    for (why, browser, callback, code) in [
        ("two logins of one browser", &alice, &first, code(&second)),
        ("Mallory's code in Alice's login", &alice, &second, code(&hers)),
        ("Alice's code in Mallory's login", &mallory, &hers, code(&first)),
    ] {
        let page = browser.navigate(&edited(callback, |p| p.set("code", code))).await;
        assert_refused(browser, &page, 400, why);
        let exchange = world.op.code_exchanges().pop().unwrap();
        assert_eq!(exchange.outcome, Err("invalid_grant".to_owned()), "{why}: PKCE stops it");
    }
    // Codes that were refused leave nothing behind, and of sessions and grants there is none.
    assert_eq!(world.app.store.len(), 1, "the index key");
    // Even a provider without PKCE does not help: the nonce is another login's.
    world.op.set(|s| s.require_pkce = false);
    let victim = callback_of(&alice, &login("/")).await;
    world.op.edit_id_token(|draft| draft.claim("nonce", "of another login"));
    assert_refused(&alice, &alice.navigate(&victim).await, 400, "the nonce");
    assert_eq!(world.app.store.len(), 2, "the spent login, and the index key");
}

/// Login CSRF: Mallory's finished callback in Alice's browser changes nothing there.
#[tokio::test]
async fn a_callback_of_somebody_else() {
    let world = World::new();
    let alice = world.signed_in("alice").await;
    let before_cookie = session(&alice);
    world.op.sign_in_as("bob");
    let hers = callback_of(&world.browser(), &login("/who")).await;
    let before = Untouched::now(&world);
    assert_eq!(alice.click_from("https://evil.test/", &hers).await.status, 400);
    assert_eq!(Untouched::now(&world), before);
    assert_eq!((who(&alice).await.as_deref(), session(&alice)), (Some("a1"), before_cookie));
}

#[tokio::test]
async fn a_new_session_id_at_every_login() {
    let world = World::new();
    let thief = world.signed_in("bob").await;
    for planted in [session(&thief).unwrap(), "A".repeat(43), String::new(), "x".repeat(500)] {
        let browser = world.browser();
        browser.set_cookie(APP, &format!("{SESSION}={planted}; Secure; Path=/"));
        browser.set_cookie(APP, &format!("{PENDING}AAAAAAAA={planted}; Secure; Path=/"));
        world.sign_in(&browser, "alice").await;
        assert_ne!(session(&browser).as_ref(), Some(&planted));
        let attacker = world.browser();
        attacker.set_cookie(APP, &format!("{SESSION}={planted}; Secure; Path=/"));
        assert_eq!(who(&attacker).await, None, "what was planted is worth nothing: {planted}");
    }
    let browser = world.signed_in("alice").await;
    let old = browser.clone_jar();
    let first = session(&browser);
    world.sign_in(&browser, "alice").await;
    assert_ne!(session(&browser), first);
    assert_eq!(who(&browser).await.as_deref(), Some("a1"));
    browser.replace_jar(old);
    assert_eq!(who(&browser).await, None, "the session that was replaced has ended");
}

/// No answer of the layer is anybody else's, whatever stands between it and the browser.
#[tokio::test]
async fn what_the_layer_answers_is_never_cached() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let mut answers = vec![
        browser.step(&callback).await,
        browser.step(&callback).await,
        browser.step(&login("/")).await,
        browser.step(&login("//evil.test")).await,
        browser.step(&format!("{APP}/auth/logout")).await,
        browser.step(&format!("{APP}/auth/nothing")).await,
    ];
    let links = browser.navigate(&format!("{APP}/links?to=/")).await.json();
    answers.push(browser.step(&format!("{APP}{}", links["logout"]["ok"].as_str().unwrap())).await);
    for answer in answers {
        let cache = answer.header("cache-control").unwrap_or_default();
        assert!(cache.contains("no-store"), "{cache:?} {} {}", answer.status, answer.url);
    }
}

/// A process with the same secrets and store finishes what another began.
#[tokio::test]
async fn a_restart_between_login_and_callback_does_no_harm() {
    let world = World::new();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    let callback = callback_of(&browser, &login("/who")).await;
    let app: App = world.another(|config| config);
    assert_eq!(browser.navigate(&callback).await.json()["sub"], "a1");
    assert_eq!(app.events.count(EventCode::LoginSucceeded), 1);
}
