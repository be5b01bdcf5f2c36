//! A store that fails, hangs, fills up or answers late.
//!
//! Not being able to know is never "not signed in".

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::get;
use http::Method;
use serde_json::Value;
use tower_oidc::store::MemoryStore;
use tower_oidc::{CurrentUser, EventCode, UserTokens};

use crate::support::app::{APP, App, SESSION, World, logout_link, routes, session_of};
use crate::support::browser::Page;
use crate::support::fault::Gate;
use crate::support::store::{Trouble, Verb};

fn assert_unavailable(page: &Page) {
    assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("2")), "{}", page.text());
    assert!(page.header("cache-control").is_some_and(|cache| cache.contains("no-store")));
    assert!(page.header("set-cookie").is_none());
}

/// 503 and a way to try again, the handler does not run, and nobody is signed out by it.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_503_and_no_logout() {
    for trouble in [Trouble::Fail, Trouble::Hang] {
        let world = World::new();
        let browser = world.signed_in("alice").await;
        let (store, app) = world.watched();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        let counted = move |_: Option<CurrentUser>| async move {
            count.fetch_add(1, Ordering::SeqCst);
        };
        world.net.serve_service(APP, app.layer.layer(routes().route("/counted", get(counted))));
        store.break_down(&trouble);
        let page = browser.navigate(&format!("{APP}/counted?x=1")).await;
        assert_unavailable(&page);
        assert_eq!(page.links(), [""], "a person tries again where they were");
        let fetched = browser.fetch(Method::GET, &format!("{APP}/counted"), "", APP).await;
        assert_unavailable(&fetched);
        assert_eq!(
            (fetched.json()["code"].as_str(), fetched.json()["status"].as_u64()),
            (Some("unavailable"), Some(503))
        );
        assert!(!fetched.text().contains("test broke it"), "the cause is the operator's");
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        assert!(app.events.has(EventCode::StoreFailed));
        let anonymous = world.browser().navigate(&format!("{APP}/who")).await;
        assert_eq!((anonymous.status.as_u16(), anonymous.text().as_str()), (200, "null"), "nothing to ask for");
        store.heal();
        assert_eq!(world.who(&browser).await, "a1");
    }
}

/// What this process was sure of a moment ago needs no store. (In memory: a database may tell at any moment that
/// something changed, and then she is looked up once more.)
#[tokio::test]
async fn a_short_outage_is_not_noticed_by_who_was_just_there() {
    let world = World::on(MemoryStore::new().into(), |config| config);
    let (store, _app) = world.watched();
    let browser = world.signed_in("alice").await;
    assert_eq!(world.who(&browser).await, "a1");
    store.break_down(&Trouble::Fail);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.who(&browser).await, "a1");
    world.clock.advance(Duration::from_secs(1));
    assert_unavailable(&browser.navigate(&format!("{APP}/who")).await);
}

/// A session that could not be written is not handed out.
#[tokio::test(start_paused = true)]
async fn no_cookie_for_what_was_not_written() {
    for trouble in [Trouble::Fail, Trouble::Hang] {
        let world = World::new();
        let (store, app) = world.watched();
        world.op.sign_in_as("alice");
        let browser = world.browser();
        store.trouble(Verb::Swap, trouble);
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("2")), "{}", page.text());
        assert!(browser.cookie(SESSION).is_none());
        assert!(!app.events.has(EventCode::LoginSucceeded));
        store.heal();
        let again = page.links().pop().expect("a link that tries again");
        assert_eq!(browser.click(&again).await.json()["sub"], "a1");
    }
}

/// A write whose answer was lost is looked at, not repeated: the login that was spent is this one's.
#[tokio::test]
async fn a_login_whose_answers_are_lost_is_whole() {
    let world = World::new();
    let (store, app) = world.watched();
    world.op.sign_in_as("alice");
    let browser = world.browser();
    store.trouble(Verb::Swap, Trouble::LoseAnswer);
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!((page.status.as_u16(), page.json()["sub"].as_str()), (200, Some("a1")), "{}", page.text());
    assert!(app.events.has(EventCode::StoreFailed), "the operator is told");
    store.heal();
    assert_eq!(world.who(&browser).await, "a1");
}

/// At each single write of a login.
#[tokio::test]
async fn whichever_write_fails() {
    let world = World::new();
    world.signed_in("bob").await;
    let (store, _app) = world.watched();
    world.op.sign_in_as("alice");
    let before = store.writes();
    world.signed_in("alice").await;
    let writes = store.writes() - before;
    assert!(writes >= 3, "the spent login, the grant, the session");
    for broken in 0..writes {
        let browser = world.browser();
        let gates: Vec<Gate> = (0..broken).map(|_| Gate::new()).collect();
        for gate in gates {
            gate.open();
            store.trouble(Verb::Swap, Trouble::GateAnswer(gate));
        }
        store.trouble(Verb::Swap, Trouble::Fail);
        let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(page.status, 503, "write {broken}: {}", page.text());
        assert!(browser.cookie(SESSION).is_none(), "write {broken}");
        store.heal();
    }
}

/// A logout that could not be done is not claimed.
#[tokio::test(start_paused = true)]
async fn a_logout_that_fails_says_so_and_can_be_repeated() {
    for (verb, trouble) in [(Verb::Delete, Trouble::Fail), (Verb::Delete, Trouble::Hang), (Verb::Load, Trouble::Fail)] {
        let world = World::new();
        let (store, app) = world.watched();
        let browser = world.signed_in("alice").await;
        let link = logout_link(&browser, "/bye").await;
        store.trouble(verb, trouble);
        let page = browser.navigate(&link).await;
        assert_unavailable(&page);
        assert!(!app.events.has(EventCode::LoggedOut));
        store.heal();
        assert_eq!(world.who(&browser).await, "a1");
        let page = browser.click(&page.links()[0]).await;
        assert_eq!(page.url.as_str(), format!("{APP}/bye"), "{}", page.text());
        assert_eq!(world.who(&browser).await, Value::Null);
    }
}

/// Tokens need the store each time: they are unavailable, which is no reason to sign in again.
#[tokio::test]
async fn tokens_are_unavailable_while_the_store_is() {
    let world = World::new();
    let (store, _app) = world.watched();
    let browser = world.signed_in("alice").await;
    store.break_down(&Trouble::Fail);
    assert_unavailable(&browser.navigate(&format!("{APP}/tok")).await);
    store.heal();
    assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
}

/// A full store refuses who comes and keeps who is there.
#[tokio::test]
async fn a_full_store_refuses_new_logins_and_signs_nobody_out() {
    let world = World::new();
    let app = App::start(&world.net, &world.clock, MemoryStore::with_capacity(7).into(), |config| config);
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    for _ in 0..3 {
        let refused = world.browser();
        let page = refused.visit(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, Some("2")), "{}", page.text());
        assert!(refused.cookie(SESSION).is_none());
    }
    for (browser, subject) in [(&alice, "a1"), (&bob, "b1")] {
        assert_eq!(world.who(browser).await, subject);
        assert_eq!(browser.navigate(&format!("{APP}/tok")).await.status, 200);
    }
    assert!(app.store.len() <= 7);
    alice.visit(&logout_link(&alice, "/bye").await).await;
    world.clock.advance(Duration::from_secs(1201));
    assert!(app.layer.delete_expired().await.unwrap() > 0, "the spent logins");
    world.signed_in("alice").await;
}

/// A request reads the session, the person signs out, the request goes on.
#[tokio::test]
async fn a_logout_during_a_request_is_final() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let session = session_of(&browser);
    let (store, app) = world.watched();
    let link = logout_link(&browser, "/bye").await;
    world.clock.advance(Duration::from_secs(3));
    let gate = Gate::new();
    store.trouble(Verb::Load, Trouble::GateAnswer(gate.clone()));
    let late = tokio::spawn({
        let tab = browser.new_tab();
        async move { tab.navigate(&format!("{APP}/who")).await }
    });
    gate.wait_for_arrivals(1).await;
    browser.visit(&link).await;
    let rows = world.app.store.len();
    gate.open();
    assert_eq!(late.await.unwrap().text(), "null", "what was read is over");
    app.layer.drain().await;
    assert_eq!(world.app.store.len(), rows, "nothing was written back");
    assert_eq!(world.who_is(&session).await, Value::Null);
}

/// The write that keeps a session alive comes too late.
#[tokio::test]
async fn an_extension_does_not_resurrect() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let session = session_of(&browser);
    let (store, app) = world.watched();
    let link = logout_link(&browser, "/bye").await;
    world.clock.advance(Duration::from_secs(4 * 3600));
    assert_eq!(world.who(&browser).await, "a1");
    app.layer.drain().await;
    world.clock.advance(Duration::from_secs(4 * 3600));
    let gate = Gate::new();
    // The request's own look, and then the extension's.
    let open = Gate::new();
    open.open();
    store.trouble(Verb::Load, Trouble::GateAnswer(open));
    store.trouble(Verb::Load, Trouble::GateAnswer(gate.clone()));
    assert_eq!(world.who(&browser).await, "a1");
    gate.wait_for_arrivals(1).await;
    browser.visit(&link).await;
    let rows = world.app.store.len();
    gate.open();
    app.layer.drain().await;
    assert_eq!(world.app.store.len(), rows);
    assert_eq!(world.who_is(&session).await, Value::Null);
}

/// A task that keeps the tokens of a request gets nothing more once the person has signed out.
#[tokio::test]
async fn a_task_that_outlives_the_session_gets_no_token() {
    let world = World::new();
    let (send, receive) = tokio::sync::oneshot::channel::<UserTokens>();
    let send = Arc::new(std::sync::Mutex::new(Some(send)));
    let keep = move |tokens: UserTokens| async move {
        send.lock().unwrap().take().unwrap().send(tokens).unwrap();
    };
    world.serve(routes().route("/keep", get(keep)));
    let browser = world.signed_in("alice").await;
    browser.navigate(&format!("{APP}/keep")).await;
    let tokens = receive.await.unwrap();
    let url = "https://api.test/cal/x";
    assert!(tokens.access_token(url).await.is_ok());
    browser.visit(&logout_link(&browser, "/bye").await).await;
    world.api.forget();
    let refused = tokens.access_token(url).await.unwrap_err();
    assert_eq!(refused.kind(), tower_oidc::ErrorKind::Unauthenticated);
    assert!(tokens.client().get(url).await.is_err());
    assert!(world.api.authorizations().is_empty());
    world.sign_in(&browser, "bob").await;
    assert!(tokens.access_token(url).await.is_err(), "nor those of who comes after");
}
