//! What a browser carries never becomes more than it and its proxies take, and what is over is cleared away.

use axum::Router;
use axum::routing::get;
use tower_oidc::{Config, Connection, Error, EventCode, GrantLifetime, Resource, ResponseMode, UserTokens};

use super::{HOUR, cookies_of};
use crate::support::app::{API, APP, World, routes};
use crate::support::browser::Browser;

/// `max_cookie_bytes`, as it is without anything said.
const MOST: usize = 6 * 1024;
/// What proxies take, with room for what is not ours.
const MOST_SENT: usize = 7 * 1024 + 256;

fn posted(mut config: Config) -> Config {
    config.provider.response_mode = ResponseMode::FormPost;
    config
}

/// `photos` and `mail`, with a resource each.
fn connections(config: Config) -> Config {
    let connection = |name: &str| {
        let resource = Resource::new(name, format!("{API}/{name}/")).scope(name);
        Connection::new(name).resource(resource).scope("offline_access").grant_lifetime(GrantLifetime::Session)
    };
    config.connection(connection("photos").allow_visitors()).connection(connection("mail"))
}

fn with_both(routes: Router) -> Router {
    let both = |tokens: UserTokens| async move {
        for name in ["photos", "mail"] {
            tokens.access_token(&format!("{API}/{name}/x")).await?;
        }
        Ok::<_, Error>("both")
    };
    routes.route("/both", get(both))
}

async fn connect(browser: &Browser, connection: &str) -> u16 {
    browser.visit(&format!("{APP}/auth/connect?connection={connection}&return_to=/who")).await.status.as_u16()
}

/// One that takes larger heads of answers than proxies do unless they are told.
fn browser(world: &World) -> Browser {
    Browser::new(&world.net, &world.clock)
}

fn values(browser: &Browser, kind: &str) -> Vec<String> {
    cookies_of(browser, kind).into_iter().map(|cookie| cookie.value).collect()
}

/// What the browser sends with each request, in bytes.
fn sent(browser: &Browser) -> usize {
    browser.cookies_for(APP).iter().map(|cookie| cookie.name.len() + cookie.value.len() + "=; ".len()).sum()
}

/// What a browser could not carry is not connected, and nothing of what it carries is touched.
#[tokio::test]
async fn what_does_not_fit_is_not_connected() {
    let world = World::stateless_with(connections);
    for (browser, connection) in [(world.signed_in("alice").await, "mail"), (browser(&world), "photos")] {
        world.op.sign_in_as("alice");
        let (before, who) = (values(&browser, "grant"), world.who(&browser).await);
        world.op.set(|op| op.access_token_padding = 8_000);
        assert_eq!(connect(&browser, connection).await, 502);
        assert_eq!((values(&browser, "grant"), world.who(&browser).await), (before, who));
        world.op.set(|op| op.access_token_padding = 0);
        assert_eq!(connect(&browser, connection).await, 200);
    }
}

/// Another site's form brings no cookie of ours: what the session before has left is cleared away all the same.
#[tokio::test]
async fn a_login_by_form_post_leaves_nothing_of_the_one_before() {
    let world = World::stateless_with(posted);
    let browser = world.signed_in("alice").await;
    assert_eq!(cookies_of(&browser, "").len(), 3, "{:?}", browser.cookies());
    // Over another session that lasts.
    world.sign_in(&browser, "bob").await;
    assert_eq!(cookies_of(&browser, "").len(), 3, "{:?}", browser.cookies());
    assert_eq!(world.who(&browser).await, "b1");
    world.token_of(&browser, "bob").await;
    // After one that was not used for a day, whose cookie has gone.
    world.clock.advance(25 * HOUR);
    assert_eq!(world.who(&browser).await, serde_json::Value::Null);
    assert_eq!(cookies_of(&browser, "").len(), 2, "{:?}", browser.cookies());
    world.sign_in(&browser, "alice").await;
    assert_eq!(cookies_of(&browser, "").len(), 3, "{:?}", browser.cookies());
    world.token_of(&browser, "alice").await;
}

/// A login that is only begun takes nothing from the session that lasts.
#[tokio::test]
async fn a_login_that_is_begun_takes_nothing_away() {
    for edit in [posted, |config| config] {
        let world = World::stateless_with(edit);
        let alice = world.signed_in("alice").await;
        let before = values(&alice, "grant");
        alice.step(&format!("{APP}/auth/login?return_to=/who")).await;
        assert_eq!(values(&alice, "grant"), before);
        world.token_of(&alice, "alice").await;
    }
}

/// A link to a login with a long destination locks nobody out: beside much else it is forgotten.
#[tokio::test]
async fn a_long_destination_is_kept_where_there_is_room_for_it() {
    for (padding, lands) in [(0, true), (2_600, false)] {
        let world = World::stateless();
        world.op.set(|op| op.access_token_padding = padding);
        let alice = browser(&world);
        world.sign_in(&alice, "alice").await;
        let destination = format!("/who?{}", "x".repeat(1500));
        alice.step(&format!("{APP}/auth/login?return_to={destination}")).await;
        assert!(sent(&alice) <= MOST_SENT, "{}", sent(&alice));
        let page = alice.visit(&format!("{APP}/auth/login?return_to={destination}")).await;
        assert_eq!((page.status.as_u16(), page.url.path() == "/who"), (200, lands), "{}", page.url);
    }
}

/// Where more may be carried, there is more room for what is under way too.
#[tokio::test]
async fn with_a_larger_limit_logins_land_where_they_were_going() {
    let world = World::stateless_with(|mut config| {
        config.max_cookie_bytes = 12 * 1024;
        config
    });
    world.op.set(|op| op.access_token_padding = 5_000);
    let alice = browser(&world);
    for _ in 0..2 {
        world.op.sign_in_as("alice");
        let page = alice.visit(&format!("{APP}/auth/login?return_to=/private")).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (200, "/private"));
        assert!(sent(&alice) > MOST_SENT, "{}", sent(&alice));
    }
}

/// What a visitor was granted stays beside a login as long as there is room for both.
#[tokio::test]
async fn a_login_has_room_beside_what_a_visitor_was_granted() {
    for (padding, stay) in [(0, true), (1_800, false)] {
        let world = World::stateless_with(connections);
        world.op.set(|op| op.access_token_padding = padding);
        world.op.sign_in_as("alice");
        let browser = browser(&world);
        assert_eq!(connect(&browser, "photos").await, 200);
        let granted = values(&browser, "grant");
        world.sign_in(&browser, "alice").await;
        world.token_of(&browser, "alice").await;
        assert!(sent(&browser) <= MOST, "{}", sent(&browser));
        let left = values(&browser, "grant").iter().filter(|value| granted.contains(value)).count();
        assert_eq!((left == granted.len(), left == 0), (stay, !stay));
        assert_eq!(world.app.events.has(EventCode::CookiesTooLarge), !stay);
    }
}

/// Grants that grow together do not each take the room that is left.
#[tokio::test]
async fn grants_that_grow_in_one_answer_share_the_room() {
    for (padding, fit) in [(300, true), (1_600, false)] {
        let world = World::stateless_with(connections);
        world.serve(with_both(routes()));
        let alice = browser(&world);
        world.sign_in(&alice, "alice").await;
        for connection in ["photos", "mail"] {
            assert_eq!(connect(&alice, connection).await, 200);
        }
        world.op.set(|op| op.access_token_padding = padding);
        for round in 1..=2 {
            world.clock.advance(HOUR);
            assert_eq!(alice.navigate(&format!("{APP}/both")).await.status, 200);
            assert!(sent(&alice) <= MOST, "{}", sent(&alice));
            assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (2 * round, 0));
        }
        assert_eq!(!world.app.events.has(EventCode::CookiesTooLarge), fit);
    }
}
