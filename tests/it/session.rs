//! Sessions and their cookies.
//!
//! A store that is away is in `session_store`, moved rows in `isolation`, every purpose of a seal beside `cookie` and
//! `seal`, sessions in cookies in `stateless`. There is no `Domain` to mismatch: a `__Host-` cookie belongs to one host.
//! There is no cache between the layer and the store but the process's own. What the provider says of a person is kept up
//! to a size (`login`). Header values are base64url or encoded by construction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_oidc::{CurrentUser, EventCode};

use crate::support::app::{APP, App, OP, SESSION, World, logout_link, routes, session_of};
use crate::support::browser::{Browser, Hop, Page};
use crate::support::store::{Trouble, Verb, WatchedStore};
use crate::support::test_store::TestStore;

const HOUR: Duration = Duration::from_secs(3600);
const OLD: &str = "the old sealing secret of the tests, 32+";
const NEW: &str = "a newer sealing secret for tests, 32 bytes";

/// Whatever stands in the cookie, the answer is anonymous and never an error.
#[tokio::test]
async fn junk_is_anonymous() {
    let world = World::new();
    let alice = session_of(&world.signed_in("alice").await);
    let elsewhere = session_of(&World::new().signed_in("alice").await);
    let pending = world.browser();
    pending.step(&format!("{APP}/auth/login")).await;
    let pending = pending.cookies().pop().unwrap().value;
    let mut flipped = alice.clone().into_bytes();
    flipped[7] = if flipped[7] == b'A' { b'B' } else { b'A' };
    let mut values: Vec<Vec<u8>> = ["", "x", "=", "%00", "\"quoted\"", &"A".repeat(43), &"A".repeat(100_000)]
        .map(|junk| junk.as_bytes().to_vec())
        .into();
    values.extend((0..alice.len()).map(|end| alice.as_bytes()[..end].to_vec()));
    values.extend([format!("{alice}A"), format!("{alice}="), elsewhere, pending].map(String::into_bytes));
    values.extend([flipped, vec![0xff; 43], alice.to_ascii_lowercase().into_bytes()]);
    for value in values {
        let cookie = [format!("a=1; {SESSION}=").into_bytes(), value, b"; b=2".to_vec()].concat();
        let shown = String::from_utf8_lossy(&cookie[..cookie.len().min(200)]).into_owned();
        let answer = world.with_cookie("/who", &cookie).await;
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"null"[..]), "{shown}");
        assert_eq!(world.with_cookie("/private", &cookie).await.status(), 401, "{shown}");
        assert!(answer.headers().get("set-cookie").is_none(), "{shown}");
    }
    for name in ["tower-oidc-session", "__Host-tower-oidc-session2", "__host-tower-oidc-session"] {
        let answer = world.with_cookie("/who", format!("{name}={alice}").as_bytes()).await;
        assert_eq!(&answer.body()[..], b"null", "another name is another cookie: {name}");
    }
    assert_eq!(world.who_is(&alice).await, "a1", "the control");
    assert!(!world.app.events.has(EventCode::StoreFailed));
}

/// A login gives a new id, whatever was there before, and ends what it replaces.
#[tokio::test]
async fn every_login_has_a_new_session() {
    let world = World::new();
    let browser = world.browser();
    let planted = "A".repeat(43);
    browser.set_cookie(APP, &format!("{SESSION}={planted}; Secure; Path=/"));
    let mut seen = vec![planted];
    for name in ["alice", "bob", "bob", "alice"] {
        world.sign_in(&browser, name).await;
        let now = session_of(&browser);
        for old in &seen {
            assert_ne!(old, &now);
            assert_eq!(world.who_is(old).await, Value::Null, "{name} signed in, and {old} is dead");
        }
        seen.push(now);
    }
    assert_eq!(world.who(&browser).await, "a1");
}

/// A session planted in somebody's browser never becomes theirs: the attacker's own stays the attacker's.
#[tokio::test]
async fn a_planted_session_does_not_become_the_victims() {
    let world = World::new();
    let mallory = session_of(&world.signed_in("bob").await);
    let victim = world.browser();
    victim.set_cookie(APP, &format!("{SESSION}={mallory}; Secure; Path=/"));
    world.sign_in(&victim, "alice").await;
    assert_eq!(world.who_is(&mallory).await, Value::Null);
    assert_eq!(world.who(&victim).await, "a1");
}

/// The idle lifetime is counted from the last request, the absolute one from the login.
#[tokio::test]
async fn idle_and_absolute_lifetimes() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    world.clock.advance(24 * HOUR - Duration::from_secs(1));
    assert_eq!(world.who(&browser).await, "a1");
    world.app.layer.drain().await;
    world.clock.advance(24 * HOUR);
    assert_eq!(world.who(&browser).await, Value::Null, "a day without a request");

    world.sign_in(&browser, "alice").await;
    let session = session_of(&browser);
    let mut app = world.app.clone();
    for visit in 0..8 {
        world.clock.advance(20 * HOUR);
        assert_eq!(world.who(&browser).await, "a1", "visit {visit}");
        app.layer.drain().await;
        // Any process knows what another one saw.
        app = world.another(|config| config);
    }
    world.clock.advance(8 * HOUR);
    assert_eq!(world.who_is(&session).await, Value::Null, "seven days after the login");
    assert!(browser.cookies_for(APP).is_empty(), "the browser forgot it too");
}

#[tokio::test]
async fn the_old_cookie_is_dead_at_once() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    let (stolen, bob) = (session_of(&browser), session_of(&world.signed_in("bob").await));
    browser.navigate(&logout_link(&browser, "/bye").await).await;
    assert_eq!(world.who_is(&stolen).await, Value::Null);
    assert_eq!(world.with_cookie("/tok", format!("{SESSION}={stolen}").as_bytes()).await.status(), 401);
    assert_eq!(world.who_is(&bob).await, "b1", "nobody else is signed out");
    world.another(|config| config);
    assert_eq!(world.who_is(&stolen).await, Value::Null, "nor does a restart bring it back");
}

fn secrets(world: &World, secrets: &[&str]) -> App {
    world.another(|mut config| {
        config.session_secrets = secrets.iter().map(|secret| (*secret).into()).collect();
        config
    })
}

/// The old secret opens, the new one seals; one that is unknown signs out and destroys
/// nothing.
#[tokio::test]
async fn secrets_rotate() {
    let world = World::new();
    secrets(&world, &[OLD]);
    let busy = session_of(&world.signed_in("alice").await);
    let quiet = session_of(&world.signed_in("bob").await);
    let rows = world.app.store.len();

    let both = secrets(&world, &[NEW, OLD]);
    assert_eq!(world.who_is(&busy).await, "a1", "what the old one sealed opens");
    both.layer.drain().await;
    let fresh = session_of(&world.signed_in("alice").await);

    let new = secrets(&world, &[NEW]);
    assert_eq!(world.who_is(&busy).await, "a1", "it was sealed anew when it was used");
    assert_eq!(world.who_is(&fresh).await, "a1", "the first one seals");
    assert_eq!(world.who_is(&quiet).await, Value::Null);
    assert!(new.events.has(EventCode::UnknownKey));
    assert!(!new.events.has(EventCode::Tampered));

    secrets(&world, &[NEW, OLD]);
    assert_eq!(world.who_is(&quiet).await, "b1", "the secret is back");
    assert!(world.app.store.len() >= rows, "nothing was deleted");
}

/// No secret in common. Nobody is signed in, nothing is an error, nothing is lost.
#[tokio::test]
async fn a_stranger_to_all_secrets_signs_everybody_out() {
    let world = World::new();
    let alice = session_of(&world.signed_in("alice").await);
    let rows = world.app.store.len();
    let stranger = secrets(&world, &[NEW]);
    assert_eq!(world.who_is(&alice).await, Value::Null);
    assert!(stranger.events.has(EventCode::UnknownKey));
    let login = world.browser().visit(&format!("{APP}/auth/login")).await;
    assert_eq!((login.status.as_u16(), login.header("retry-after")), (503, Some("2")), "the rows are others'");
    assert_eq!(world.app.store.len(), rows, "nothing was deleted");
    world.another(|config| config);
    assert_eq!(world.who_is(&alice).await, "a1", "the secret is back");
}

fn set_cookies(hop: &Hop) -> Vec<&str> {
    hop.headers.get_all("set-cookie").iter().map(|header| header.to_str().unwrap()).collect()
}

/// As browsers see them, in each hop of a login and a logout.
#[tokio::test]
async fn cookie_attributes() {
    let world = World::new();
    let browser = world.browser();
    world.op.sign_in_as("alice");
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    let link = logout_link(&browser, "/bye").await;
    let out = browser.visit(&link).await;
    let hops: Vec<&Hop> = page.hops_at(APP).into_iter().chain(out.hops_at(APP)).collect();
    let all: Vec<&str> = hops.iter().flat_map(|hop| set_cookies(hop)).collect();
    assert!(all.len() >= 6, "{all:#?}");
    for set in &all {
        assert!(set.starts_with("__Host-tower-oidc-"), "{set}");
        let attributes: Vec<&str> = set.split("; ").skip(1).collect();
        for wanted in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(attributes.contains(&wanted), "{wanted}: {set}");
        }
        assert!(attributes.iter().any(|a| a.starts_with("Max-Age=")), "{set}");
        assert!(!set.to_ascii_lowercase().contains("domain"), "{set}");
    }
    let lifetime = |name: &str| {
        let of = all.iter().filter(|set| set.starts_with(name));
        of.map(|set| set.rsplit_once("Max-Age=").unwrap().1).collect::<Vec<_>>()
    };
    assert_eq!(lifetime(&format!("{SESSION}=")), ["604800", "0"], "seven days, and then gone");
    assert_eq!(lifetime("__Host-tower-oidc-login-"), ["1200", "0"]);
    assert_eq!(lifetime("__Host-tower-oidc-logout-"), ["1200", "0"]);
    assert!(browser.rejected_cookies().is_empty(), "{:?}", browser.rejected_cookies());
}

/// A login that comes back by a cross-site POST needs its own cookie, and only that one, everywhere.
#[tokio::test]
async fn form_post_opens_the_login_cookie_only() {
    let world = World::with(|mut config| {
        config.provider.response_mode = tower_oidc::ResponseMode::FormPost;
        config
    });
    let browser = world.signed_in("alice").await;
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.json()["sub"], "a1");
    for exchange in world.net.requests(APP) {
        let answer = exchange.answer.unwrap();
        for set in answer.headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let expected = if set.contains("-login-") { "SameSite=None" } else { "SameSite=Lax" };
            assert!(set.contains(expected) && set.contains("Secure"), "{set}");
        }
    }
}

fn caching(headers: &http::HeaderMap) -> (Option<&str>, Option<&str>) {
    let get = |name| headers.get(name).and_then(|value| value.to_str().ok());
    (get("cache-control"), get("vary"))
}

const PRIVATE: (Option<&str>, Option<&str>) = (Some("private, no-store"), Some("Cookie"));

/// The promise about caches, and that an ordinary request sets nothing.
#[tokio::test]
async fn who_is_known_is_not_cached() {
    let world = World::new();
    let public = || async { ([("cache-control", "public, max-age=60")], "the same for all") };
    let basket = || async { ([("set-cookie", "basket=1")], "a basket") };
    world.serve(routes().route("/public", get(public)).route("/basket", get(basket)));
    let browser = world.browser();
    let anonymous = browser.navigate(&format!("{APP}/who")).await;
    assert_eq!(caching(&anonymous.headers), (None, None), "nobody's business");
    world.op.sign_in_as("alice");
    let login = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    for hop in login.hops_at(APP).iter().filter(|hop| !set_cookies(hop).is_empty()) {
        let (cache, _) = caching(&hop.headers);
        assert!(cache.is_some_and(|cache| cache.contains("no-store")), "{} {cache:?}", hop.url);
    }
    let callback = login.chain.iter().find(|hop| hop.url.path() == "/auth/callback").unwrap();
    assert_eq!(caching(&callback.headers), PRIVATE, "it sets the session");
    for path in ["/who", "/private", "/tok", "/nowhere"] {
        let page = browser.navigate(&format!("{APP}{path}")).await;
        assert_eq!(caching(&page.headers), PRIVATE, "{path}");
        assert!(page.header("set-cookie").is_none(), "{path}");
    }
    let page = browser.navigate(&format!("{APP}/public")).await;
    assert_eq!(caching(&page.headers), (Some("public, max-age=60"), None), "the handler knows better");
    let junk = world.with_cookie("/who", format!("{SESSION}=junk").as_bytes()).await;
    assert_eq!(caching(junk.headers()), PRIVATE);
    let basket = world.with_cookie("/basket", b"a=1").await;
    assert_eq!(caching(basket.headers()), PRIVATE, "an answer that sets a cookie is somebody's own");
    let refused = world.with_cookie("/private", b"a=1").await;
    assert_eq!(caching(refused.headers()), PRIVATE, "a login link with somebody's page in it");
    let out = browser.visit(&logout_link(&browser, "/bye").await).await;
    for hop in out.hops_at(APP).iter().filter(|hop| !set_cookies(hop).is_empty()) {
        let (cache, _) = caching(&hop.headers);
        assert!(cache.is_some_and(|cache| cache.contains("no-store")), "{} {cache:?}", hop.url);
    }
}

/// A cache in front that keeps whatever it is not forbidden to keep, cookies included, and knows no `Vary`.
fn serve_through_a_careless_cache(world: &World, routes: Router) {
    let service = world.app.layer.layer(routes);
    let kept: Arc<Mutex<HashMap<String, Response<Bytes>>>> = Arc::default();
    world.net.serve(APP, move |request: Request<Bytes>| {
        let (service, kept) = (service.clone(), Arc::clone(&kept));
        async move {
            let name = request.uri().to_string();
            let is_get = request.method() == Method::GET;
            if let Some(hit) = kept.lock().unwrap().get(&name).filter(|_| is_get) {
                return hit.clone();
            }
            let response = service.oneshot(request.map(axum::body::Body::from)).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let response = Response::from_parts(parts, body);
            let forbidden = caching(response.headers()).0.is_some_and(|cache| cache.contains("no-store"));
            if is_get && !forbidden {
                kept.lock().unwrap().insert(name, response.clone());
            }
            response
        }
    });
}

#[tokio::test]
async fn a_careless_cache_leaks_nothing() {
    let world = World::new();
    let shared = || async { ([("cache-control", "public")], "the same for all") };
    serve_through_a_careless_cache(&world, routes().route("/public", get(shared)));
    let (alice, bob) = (world.signed_in("alice").await, world.signed_in("bob").await);
    let visit = async |browser: &Browser, path: &str| -> Page { browser.navigate(&format!("{APP}{path}")).await };
    for _ in 0..2 {
        for (browser, subject, name) in [(&alice, "a1", "alice"), (&bob, "b1", "bob")] {
            assert_eq!(visit(browser, "/who").await.json()["sub"], subject);
            assert_eq!(visit(browser, "/private").await.json()["sub"], subject);
            let token = visit(browser, "/tok").await.text();
            assert_eq!(world.op.owner_of(&token).as_deref(), Some(name));
            visit(browser, "/public").await;
        }
    }
    assert_eq!(visit(&world.browser(), "/private").await.url.path(), "/private", "signed in by the provider");
    let stranger = world.browser();
    assert_eq!(visit(&stranger, "/who").await.text(), "null");
    assert!(stranger.cookies().is_empty(), "no cookie came out of the cache");
}

/// Where browsers carry their sessions, any answer may bring one: that one is not shared, whatever its handler says.
#[tokio::test]
async fn a_session_that_is_sealed_anew_is_not_cached() {
    let world = World::stateless();
    let shared = || async {
        ([("cache-control", "public, max-age=60"), ("cdn-cache-control", "max-age=600")], "the same for all")
    };
    serve_through_a_careless_cache(&world, routes().route("/public", get(shared)));
    let alice = world.signed_in("alice").await;
    world.clock.advance(Duration::from_secs(12 * 3600));
    let anew = alice.navigate(&format!("{APP}/public")).await;
    assert!(anew.header("set-cookie").is_some_and(|cookie| cookie.starts_with(SESSION)), "{anew:?}");
    assert_eq!((caching(&anew.headers), anew.header("cdn-cache-control")), (PRIVATE, None));
    let ordinary = alice.navigate(&format!("{APP}/public")).await;
    assert_eq!(caching(&ordinary.headers), (Some("public, max-age=60"), None), "the handler knows better");
    assert_eq!(ordinary.header("cdn-cache-control"), Some("max-age=600"));
    let stranger = world.browser();
    assert_eq!(stranger.navigate(&format!("{APP}/public")).await.text(), "the same for all");
    assert!(stranger.cookies().is_empty(), "no cookie came out of the cache");
}

/// Responses stay under 4 KiB of headers and requests under 8 KiB of cookies, whatever a person opens in tabs.
#[tokio::test]
async fn header_budgets_hold_with_many_tabs() {
    let world = World::new();
    let browser = world.signed_in("alice").await;
    for tab in 0..20 {
        let long = format!("/who?{tab}{}", "x".repeat(if tab % 2 == 0 { 2000 } else { 300 }));
        let tab = browser.new_tab();
        // The browser itself fails the test when a header is too long.
        tab.step(&format!("{APP}/auth/login?return_to={long}")).await;
        assert_eq!(world.who(&tab).await, "a1");
    }
    world.sign_in(&browser, "bob").await;
    assert_eq!(world.who(&browser).await, "b1");
}

/// Two applications on one host, told apart by the name of their cookies (cookies know no ports).
#[tokio::test]
async fn a_session_of_another_application_is_no_session() {
    let world = World::new();
    let alice = session_of(&world.signed_in("alice").await);
    let other = App::start(&world.net, &world.clock, TestStore::new(), |mut config| {
        config.cookie_name = "other".into();
        config
    });
    assert_eq!(world.who_is(&alice).await, Value::Null);
    let answer = world.with_cookie("/who", format!("__Host-other-session={alice}").as_bytes()).await;
    assert_eq!(&answer.body()[..], b"null", "another store knows nothing of it");
    assert!(other.events.all().is_empty());
}

/// What a handler keeps of a person says what was true at the request, and ends nothing and revives nothing.
#[tokio::test]
async fn a_kept_user_outlives_nothing() {
    let world = World::new();
    let kept: Arc<Mutex<Option<CurrentUser>>> = Arc::default();
    let keeper = Arc::clone(&kept);
    let keep = move |user: CurrentUser| async move {
        *keeper.lock().unwrap() = Some(user);
    };
    world.serve(routes().route("/keep", get(keep)));
    let browser = world.signed_in("alice").await;
    browser.navigate(&format!("{APP}/keep")).await;
    browser.visit(&logout_link(&browser, "/bye").await).await;
    let kept = kept.lock().unwrap().take().unwrap();
    assert_eq!((kept.subject(), kept.issuer()), ("a1", OP));
    assert_eq!(world.who(&browser).await, json!(null));
}

/// A clock that is set back makes no belief longer, by either of its readings; one that is ahead for a moment ends nothing.
#[tokio::test]
async fn a_wrong_clock_neither_prolongs_a_belief_nor_ends_a_session() {
    for stateless in [false, true] {
        let world = World::new();
        let clock = world.clock.of_a_process();
        let (here, there) = (world.app.store.clone(), world.app.store.clone());
        let deaf = WatchedStore::new(here.clone());
        deaf.trouble(Verb::Listen, Trouble::Hang);
        let app = match stateless {
            true => App::stateless_at(&world.net, &clock, deaf, here, |config| config),
            false => App::over(&world.net, &clock, deaf, here, |config| config),
        };
        let other = match stateless {
            true => App::stateless_at(&world.net, &world.clock, there.clone(), there, |config| config),
            false => App::start(&world.net, &world.clock, there, |config| config),
        };
        let serve = |app: &App| world.net.serve_service(APP, app.layer.clone().layer(routes()));
        serve(&app);
        let alice = world.signed_in("alice").await;
        // With all of her cookies as they are now, whatever the answers do to them.
        let cookies: Vec<_> = alice.cookies_for(APP).iter().map(|c| format!("{}={}", c.name, c.value)).collect();
        let kept = cookies.join("; ");
        let who_is = async |cookies: &str| {
            let answer = world.with_cookie("/who", cookies.as_bytes()).await;
            serde_json::from_slice::<Value>(answer.body()).unwrap()["sub"].clone()
        };
        assert_eq!(who_is(&kept).await, "a1");
        // Ahead for a moment: whatever is said meanwhile, the session is there afterwards.
        clock.set_forward(Duration::from_secs(8 * 24 * 3600));
        who_is(&kept).await;
        clock.rewind(Duration::from_secs(8 * 24 * 3600));
        assert_eq!(who_is(&kept).await, "a1", "stateless: {stateless}");
        // An hour back, and she signs out elsewhere: this process may believe it for two seconds, and no longer.
        clock.rewind(Duration::from_secs(3600));
        assert_eq!(who_is(&kept).await, "a1", "stateless: {stateless}");
        serve(&other);
        let link = logout_link(&alice, "/bye").await;
        alice.visit(&link).await;
        serve(&app);
        world.clock.advance(Duration::from_millis(2001));
        assert_eq!(who_is(&kept).await, Value::Null, "stateless: {stateless}");
    }
}

/// Monotonic time alone, with a wall clock that stands still or goes back at the pace of time.
#[tokio::test]
async fn a_wall_clock_that_does_not_move_suspends_nothing() {
    let world = World::new();
    let clock = world.clock.of_a_process();
    let deaf = WatchedStore::new(world.app.store.clone());
    deaf.trouble(Verb::Listen, Trouble::Hang);
    let app = App::over(&world.net, &clock, deaf, world.app.store.clone(), |config| config);
    let serve = |app: &App| world.net.serve_service(APP, app.layer.clone().layer(routes()));
    serve(&app);
    let alice = world.signed_in("alice").await;
    let kept = session_of(&alice);
    assert_eq!(world.who_is(&kept).await, "a1");
    let other = world.another(|config| config);
    alice.visit(&logout_link(&alice, "/bye").await).await;
    drop(other);
    serve(&app);
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        clock.rewind(Duration::from_secs(1));
    }
    assert_eq!(world.who_is(&kept).await, Value::Null);
}
