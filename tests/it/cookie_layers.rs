//! The layer beside the application's own `CookieManagerLayer`, outside and inside of it, in each mode: where both set
//! cookies in one response, every cookie of both arrives, and none twice.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http::HeaderMap;
use http::header::SET_COOKIE;
use tower_cookies::{Cookie, CookieManagerLayer, Cookies};
use tower_oidc::store::MemoryStore;
use tower_oidc::{Connection, Error, OidcLayer, Resource, SharedAccount, SingleUseToken};

use crate::support::app::{API, APP, App, SESSION, World, routes};
use crate::support::browser::{Browser, Page};

const OURS: &str = "__Host-tower-oidc-";
const BASKET: &str = "basket";
const VISITS: &str = "visits";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    PerUser,
    SingleUser,
    Stateless,
}

/// Where the application's own layer stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manager {
    Outside,
    Inside,
}

/// The application sets two cookies with each response that passes, and reads one of them.
async fn with_cookies(Extension(cookies): Extension<Cookies>, request: Request, next: Next) -> Response {
    let visits = cookies.get(VISITS).map_or(0, |visits| visits.value().parse::<u32>().expect("a number"));
    let response = next.run(request).await;
    for (name, value) in [(BASKET, "full".to_owned()), (VISITS, (visits + 1).to_string())] {
        cookies.add(Cookie::build((name, value)).path("/").secure(true).build());
    }
    response
}

fn own_layers(router: Router) -> Router {
    router.layer(from_fn(with_cookies)).layer(CookieManagerLayer::new())
}

async fn export(token: SingleUseToken) -> Result<String, Error> {
    Ok(token.access_token(&format!("{API}/mail/"))?.expose_secret().to_owned())
}

fn world(mode: Mode, manager: Manager) -> World {
    let mut world = World::new();
    let app = match mode {
        Mode::PerUser => world.another(|config| {
            let mail = Resource::new("mail", format!("{API}/mail/"));
            config.connection(Connection::new("mail").resource(mail).single_use())
        }),
        Mode::SingleUser => {
            let config = crate::single_user::app::configured(&world);
            let layer = OidcLayer::single_user(config, SharedAccount::client_credentials(), MemoryStore::new());
            App { layer: layer.unwrap_or_else(|error| panic!("{error}")), ..world.app.clone() }
        }
        Mode::Stateless => App::stateless(&world.net, &world.clock, |config| config),
    };
    let (layer, routes) = (app.layer.clone(), routes().route("/export", get(export)));
    match manager {
        Manager::Outside => {
            let inner = Router::new().fallback_service(layer.layer(routes));
            world.net.serve_service(APP, own_layers(inner));
        }
        Manager::Inside => world.net.serve_service(APP, layer.layer(own_layers(routes))),
    }
    world.app = app;
    world
}

/// The names of the cookies that a response sets, each once.
fn set_by(headers: &HeaderMap, what: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for header in headers.get_all(SET_COOKIE) {
        let header = header.to_str().expect("text");
        let (name, _) = header.split_once('=').expect("a name");
        assert!(names.insert(name.to_owned()), "{what}: {name} is set twice");
    }
    names
}

/// What the application set on the way, and how many of its responses had a cookie of the layer too.
fn both(page: &Page, what: &str) -> usize {
    let app = page.chain.iter().filter(|hop| hop.url.as_str().starts_with(APP));
    let set = app.map(|hop| set_by(&hop.headers, what));
    let with_both = set.filter(|names| {
        let ours = names.iter().any(|name| name.starts_with(OURS));
        let own = [BASKET, VISITS].iter().filter(|name| names.contains(**name)).count();
        assert!(own == 0 || own == 2, "{what}: {names:?}");
        ours && own == 2
    });
    with_both.count()
}

fn visits(browser: &Browser) -> u32 {
    browser.cookie(VISITS).map_or(0, |visits| visits.value.parse().expect("a number"))
}

async fn check(mode: Mode, manager: Manager) {
    let what = format!("{mode:?}, the application's cookies {manager:?}");
    let world = world(mode, manager);
    let browser = world.browser();
    world.op.sign_in_as("alice");
    let page = browser.visit(&format!("{APP}/auth/login?return_to=/who")).await;
    assert_eq!(page.json()["sub"], "a1", "{what}: {}", page.text());
    // The login and its callback are answered by the layer: they pass the application's cookies where these are outside.
    let (together, passed) = match manager {
        Manager::Outside => (2, 3),
        Manager::Inside => (0, 1),
    };
    assert_eq!((both(&page, &what), visits(&browser)), (together, passed), "{what}");
    assert!(browser.cookie(SESSION).is_some(), "{what}");
    // A handler's own response, with cookies of the layer beside its own.
    let page = match mode {
        Mode::PerUser => {
            let granted = browser.visit(&format!("{APP}/auth/connect?connection=mail&return_to=/export")).await;
            assert_eq!(granted.status, 200, "{what}: {}", granted.text());
            Some(granted)
        }
        Mode::Stateless => {
            world.clock.advance(Duration::from_secs(12 * 3600));
            Some(browser.navigate(&format!("{APP}/who")).await)
        }
        // Its handlers answer without a cookie of the layer.
        Mode::SingleUser => None,
    };
    if let Some(page) = page {
        both(&page, &what);
        let set = set_by(&page.headers, &what);
        assert!(set.contains(BASKET) && set.contains(VISITS), "{what}: {set:?}");
        assert!(set.iter().any(|name| name.starts_with(OURS)), "{what}: {set:?}");
    }
    assert_eq!(world.who(&browser).await, "a1", "{what}");
    let before = visits(&browser);
    let out = browser.visit(&crate::support::app::logout_link(&browser, "/who").await).await;
    assert!(out.json().is_null(), "{what}: {}", out.text());
    both(&out, &what);
    assert!(visits(&browser) > before, "{what}: the application's cookies come back");
    assert_eq!(browser.cookie(BASKET).map(|basket| basket.value).as_deref(), Some("full"), "{what}");
    assert!(browser.cookie(SESSION).is_none(), "{what}");
    assert!(browser.rejected_cookies().is_empty(), "{what}: {:?}", browser.rejected_cookies());
}

#[tokio::test]
async fn with_a_store() {
    check(Mode::PerUser, Manager::Outside).await;
    check(Mode::PerUser, Manager::Inside).await;
}

#[tokio::test]
async fn with_one_account() {
    check(Mode::SingleUser, Manager::Outside).await;
    check(Mode::SingleUser, Manager::Inside).await;
}

#[tokio::test]
async fn stateless() {
    check(Mode::Stateless, Manager::Outside).await;
    check(Mode::Stateless, Manager::Inside).await;
}
