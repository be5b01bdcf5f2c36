//! An application signs a person out itself: [`AuthSession::log_out`].

use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::response::Redirect;
use axum::routing::post;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use tower_oidc::store::MemoryStore;
use tower_oidc::{AuthSession, Config, CurrentUser, Error, EventCode, SharedAccount, UserTokens};

use crate::single_user::app::start;
use crate::support::app::{API, APP, OP, SESSION, World, routes, session_of};
use crate::support::browser::{Browser, Page};
use crate::support::fault::{Fault, Gate};
use crate::support::html::Form;
use crate::support::store::Trouble;

#[derive(Deserialize)]
struct Leave {
    #[serde(default)]
    to: String,
}

/// `/leave` signs out and goes on, `/leave/ask` says where to go, `/leave/stay` does nothing, and `/leave/slow` signs
/// nobody out and answers when the gate opens.
fn app(gate: &Gate) -> Router {
    let leave = |auth: AuthSession, Query(leave): Query<Leave>| async move {
        Ok::<_, Error>(Redirect::to(&auth.log_out(&leave.to).await?))
    };
    let ask = |auth: AuthSession, Query(leave): Query<Leave>| async move { auth.log_out(&leave.to).await };
    let gate = gate.clone();
    let slow = || async move {
        gate.wait().await;
        "late"
    };
    let after = |user: CurrentUser, auth: AuthSession, tokens: UserTokens| async move {
        let before = tokens.access_token(&format!("{API}/cal/")).await.is_ok();
        auth.log_out("").await?;
        let after = tokens.access_token(&format!("{API}/cal/")).await.map_err(|error| error.kind().code());
        Ok::<_, Error>(format!("{} {before} {:?}", user.subject(), after.err()))
    };
    routes()
        .route("/leave", post(leave))
        .route("/leave/ask", post(ask))
        .route("/leave/stay", post(|_: AuthSession| async { "here" }))
        .route("/leave/slow", post(slow))
        .route("/leave/after", post(after))
}

fn served(world: World) -> World {
    world.serve(app(&Gate::new()));
    world
}

/// One world for each place of sessions and tokens.
fn worlds() -> [World; 3] {
    let single_user = World::new();
    let account = SharedAccount::client_credentials();
    let app = start(&single_user, account, MemoryStore::new(), |config| config);
    [served(World::new()), served(World::stateless()), served(World { app, ..single_user })]
}

async fn leave(browser: &Browser, to: &str) -> Page {
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    browser.submit_from(APP, &Form::post(&format!("{APP}/leave?to={to}"), &[])).await
}

async fn fetch(browser: &Browser, path: &str) -> Page {
    browser.fetch(Method::POST, &format!("{APP}{path}"), "", APP).await
}

fn set_cookies(page: &Page) -> bool {
    page.header("set-cookie").is_some()
}

#[tokio::test]
async fn a_handler_signs_out_here_and_at_the_provider() {
    for world in worlds() {
        let (browser, other) = (world.signed_in("alice").await, world.signed_in("alice").await);
        let session = session_of(&browser);
        let stays = fetch(&browser, "/leave/stay").await;
        assert!(!set_cookies(&stays), "who does not sign out");
        assert_eq!(world.who(&browser).await, "a1");

        let page = leave(&browser, "/bye?x=1%262").await;
        assert_eq!(page.url.as_str(), format!("{APP}/bye?x=1%262"));
        let ended = world.op.logouts().pop().expect("it went by the provider");
        assert_eq!(ended.get("post_logout_redirect_uri"), Some("https://app.test/"));
        assert!(ended.get("state").is_some_and(|state| state.len() >= 43));
        assert_eq!(ended.get("id_token_hint").map(|hint| hint.split('.').count()), Some(3));
        assert_eq!(world.who_is(&session).await, Value::Null, "the cookie is dead");
        let left = browser.cookies_for(APP).into_iter().map(|cookie| cookie.name);
        let left: Vec<_> = left.filter(|name| name.starts_with("__Host-")).collect();
        assert_eq!(left, ["__Host-tower-oidc-silent"], "nothing else is left");
        assert_eq!(world.app.events.count(EventCode::LoggedOut), 1);
        assert_eq!(world.who(&other).await, "a1", "another browser stays signed in");
    }
}

/// For a script: the address is what the handler makes of it.
#[tokio::test]
async fn the_answer_removes_the_cookies_whatever_it_is() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        let page = fetch(&browser, "/leave/ask?to=/bye").await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("cache-control"), Some("private, no-store"));
        assert!(page.text().starts_with("https://op.test/end_session?"), "{}", page.text());
        assert!(browser.cookie(SESSION).is_none());
        assert_eq!(browser.visit(&page.text()).await.url.as_str(), format!("{APP}/bye"));
    }
}

/// The session is one that this process has not seen yet.
#[tokio::test]
async fn another_process_signs_out() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let another = world.another(|config| config);
    world.net.serve_service(APP, another.layer.layer(app(&Gate::new())));
    assert_eq!(leave(&browser, "/bye").await.url.as_str(), format!("{APP}/bye"));
    assert!(browser.cookie(SESSION).is_none());
    world.net.serve_service(APP, world.app.layer.layer(app(&Gate::new())));
    assert_eq!(world.who(&browser).await, Value::Null);
}

/// An answer to another request of the session comes late, when the next person is signed in: it takes nothing away.
#[tokio::test]
async fn only_the_answer_of_the_request_that_signs_out_removes_cookies() {
    for world in worlds() {
        let gate = Gate::new();
        world.serve(app(&gate));
        let browser = world.signed_in("alice").await;
        let slow = tokio::spawn({
            let tab = browser.new_tab();
            async move { fetch(&tab, "/leave/slow").await }
        });
        gate.wait_for_arrivals(1).await;
        leave(&browser, "/bye").await;
        world.sign_in(&browser, "bob").await;
        gate.open();
        let late = slow.await.unwrap();
        assert_eq!((late.text().as_str(), set_cookies(&late)), ("late", false));
        assert_eq!(world.who(&browser).await, "b1");
    }
}

/// Each of two requests that sign out at once removes the cookies, whichever answer the browser gets.
#[tokio::test]
async fn twice_at_once_is_no_error() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        let tab = browser.new_tab();
        let ask = |browser: Browser| async move { fetch(&browser, "/leave/ask?to=/bye").await };
        let (first, second) = tokio::join!(ask(browser.new_tab()), ask(tab));
        for page in [&first, &second] {
            assert_eq!(page.status, 200, "{}", page.text());
        }
        assert!(set_cookies(&first) || set_cookies(&second));
        assert_eq!(world.who(&browser).await, Value::Null);
    }
}

#[tokio::test]
async fn what_a_request_holds_hands_out_nothing_more() {
    for world in [served(World::new()), served(World::stateless())] {
        let browser = world.signed_in("alice").await;
        let page = fetch(&browser, "/leave/after").await;
        assert_eq!(page.text(), "a1 true Some(\"unauthenticated\")");
    }
}

#[tokio::test]
async fn nobody_is_signed_out_by_an_anonymous_request() {
    for world in worlds() {
        let stranger = world.browser();
        let page = fetch(&stranger, "/leave/ask?to=/bye").await;
        assert_eq!((page.text().as_str(), set_cookies(&page)), ("/bye", false));
        assert!(world.op.logouts().is_empty());
        assert!(!world.app.events.has(EventCode::LoggedOut));
    }
}

/// Where to go is looked at first.
#[tokio::test]
async fn a_destination_elsewhere_is_400_and_nothing_happened() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        for to in ["https://evil.test/", "//evil.test", "/%255Cevil.test/%0d"] {
            let page = fetch(&browser, &format!("/leave/ask?to={to}")).await;
            assert_eq!((page.status.as_u16(), set_cookies(&page)), (400, false), "{to}");
            assert_eq!(world.who(&browser).await, "a1", "{to}");
        }
    }
}

#[tokio::test]
async fn another_site_signs_nobody_out() {
    for world in worlds() {
        let browser = world.signed_in("alice").await;
        let form = Form::post(&format!("{APP}/leave"), &[]);
        browser.submit_from("https://evil.test", &form).await;
        let sibling = browser.submit_from("https://other.app.test/", &form).await;
        assert_eq!(sibling.status, 403);
        assert_eq!(world.who(&browser).await, "a1");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_no_logout() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let (store, watched) = world.watched();
    world.net.serve_service(APP, watched.layer.layer(app(&Gate::new())));
    assert_eq!(world.who(&browser).await, "a1");
    store.break_down(&Trouble::Fail);
    let page = fetch(&browser, "/leave/ask?to=/bye").await;
    assert_eq!((page.status.as_u16(), set_cookies(&page)), (503, false));
    store.heal();
    assert_eq!(world.who(&browser).await, "a1");
    assert_eq!(fetch(&browser, "/leave/ask?to=/bye").await.status, 200);
    assert_eq!(world.who(&browser).await, Value::Null);
}

/// A provider without a logout, one that is not to be asked, and one that nobody has talked to yet.
#[tokio::test]
async fn without_the_providers_logout_the_address_is_the_destination() {
    let not_asked = |mut config: Config| {
        config.provider.logout_at_provider = false;
        config
    };
    for world in [World::with(not_asked), World::stateless_with(not_asked), World::new()] {
        let world = served(world);
        world.op.set(|settings| settings.end_session = false);
        let browser = world.signed_in("alice").await;
        assert_eq!(fetch(&browser, "/leave/ask?to=/bye").await.text(), "/bye");
        assert_eq!(world.who(&browser).await, Value::Null);
    }
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let another = world.another(|config| config);
    world.net.serve_service(APP, another.layer.layer(app(&Gate::new())));
    world.net.fault(OP, "", Fault::Refuse);
    assert_eq!(fetch(&browser, "/leave/ask").await.text(), "/");
    assert_eq!(world.who(&browser).await, Value::Null);
}

/// An address that no proxy takes goes without the ID token: the provider has the client's name, and can ask.
#[tokio::test]
async fn a_long_id_token_is_left_out() {
    let world = served(World::new());
    world.op.user("alice", |user| user.set("padding", "x".repeat(4000)));
    let browser = world.signed_in("alice").await;
    let address = fetch(&browser, "/leave/ask?to=/bye").await.text();
    assert!(address.len() < 2048 && !address.contains("id_token_hint"), "{address}");
    assert_eq!(browser.visit(&address).await.url.as_str(), format!("{APP}/bye"));
    assert_eq!(world.op.logouts()[0].get("client_id"), Some("app"));
}

/// What lasts as long as the session ends with it, and is revoked where that is configured.
#[tokio::test]
async fn grants_of_the_session_end_with_it() {
    let revoking = |mut config: Config| {
        config.provider.revoke_at_logout = true;
        config
    };
    let world = served(World::with(revoking));
    let empty = world.app.store.len();
    let browser = world.signed_in("alice").await;
    assert!(world.app.store.len() >= empty + 2, "session and grant");
    let before = world.app.store.len();
    leave(&browser, "/bye").await;
    world.app.layer.drain().await;
    assert_eq!(before - world.app.store.len(), 2);
    assert_eq!(world.op.revocations().len(), 1);

    let world = served(World::stateless_with(revoking));
    let browser = world.signed_in("alice").await;
    leave(&browser, "/bye").await;
    world.app.layer.drain().await;
    assert_eq!(world.op.revocations().len(), 1);
}

/// Who signs out is not signed in again by the next page that tries silently.
#[tokio::test]
async fn a_silent_login_is_suppressed() {
    let world = served(World::new());
    world.op.set(|settings| settings.end_session = false);
    let browser = world.signed_in("alice").await;
    leave(&browser, "/who").await;
    let silent = format!("{APP}/auth/login?prompt=none&return_to=/who");
    assert_eq!(browser.visit(&silent).await.text(), "null");
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(browser.visit(&silent).await.json()["sub"], "a1", "a minute later it may try");
}
