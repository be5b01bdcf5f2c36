//! A token that a process has read costs no store read, and what ends its grant is seen as the end of a session is.

use std::time::Duration;

use axum::routing::get;
use tower_oidc::store::Store;
use tower_oidc::{Config, Connection, Error, Resource, UserTokens};

use crate::support::app::{API, APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::store::{Trouble, Verb, WatchedStore};

/// A second process: at another origin, for the same browsers.
const TWO: &str = "https://two.test";

fn with_mail(config: Config) -> Config {
    config.connection(Connection::new("mail").resource(Resource::new("mail", format!("{API}/mail/"))))
}

async fn mail(tokens: UserTokens) -> Result<String, Error> {
    Ok(tokens.access_token(&format!("{API}/mail/")).await?.expose_secret().to_owned())
}

async fn disconnect(tokens: UserTokens) -> Result<String, Error> {
    Ok(format!("{:?}", tokens.disconnect("mail").await?))
}

fn serve(world: &World, origin: &str, app: &App) {
    let routes = routes().route("/mail", get(mail)).route("/disconnect", get(disconnect));
    world.net.serve_service(origin, app.layer.layer(routes));
}

/// One process that is served at `APP`, and one at `TWO` behind a store that is watched.
fn two_processes(edit: impl Fn(Config) -> Config + Copy) -> (World, App, App, WatchedStore) {
    let world = World::new();
    let one = world.another(|config| edit(with_mail(config)));
    let watched = WatchedStore::new(world.app.store.clone());
    let store = world.app.store.clone();
    let two = App::over(&world.net, &world.clock, watched.clone(), store, |config| edit(with_mail(config)));
    serve(&world, APP, &one);
    serve(&world, TWO, &two);
    (world, one, two, watched)
}

async fn connected(world: &World) -> Browser {
    let browser = world.signed_in("alice").await;
    let connect = format!("{APP}/auth/connect?connection=mail&return_to=/who");
    assert_eq!(browser.visit(&connect).await.status, 200);
    browser
}

async fn token_at(world: &World, origin: &str, browser: &Browser) -> Option<String> {
    let answer = world.ask(origin, browser, "/mail").await.unwrap();
    (answer.status() == 200).then(|| String::from_utf8(answer.body().to_vec()).unwrap())
}

#[tokio::test]
async fn a_token_that_was_read_a_moment_ago_costs_no_store_read() {
    // Of ten requests after a while the first one reads the session and the grant, and no other one.
    for (staleness, reading) in [(2, 1), (0, 10)] {
        let (world, _one, _two, watched) = two_processes(|mut config| {
            config.max_staleness = Duration::from_secs(staleness);
            config
        });
        let alice = connected(&world).await;
        let token = token_at(&world, TWO, &alice).await.unwrap();
        assert_eq!(world.op.owner_of(&token).as_deref(), Some("alice"));
        world.app.store.told().await;
        world.clock.advance(Duration::from_millis(2001));
        let mut reads = Vec::new();
        for _ in 0..10 {
            let before = watched.loads();
            assert_eq!(token_at(&world, TWO, &alice).await.as_ref(), Some(&token));
            reads.push(watched.loads() - before);
        }
        assert!(reads[0] >= 2, "{staleness}: {reads:?}");
        // On a busy machine a database may say late that anything has changed.
        let most = if world.app.store.is_durable() { reading.max(4) } else { reading };
        let found = reads.iter().filter(|&&read| read > 0).count();
        assert!((reading..=most).contains(&found), "{staleness}: {reads:?}");
    }
}

/// A disconnect and a new consent, at this process and at another: what was known is not handed out again.
#[tokio::test]
async fn what_ends_a_grant_is_seen_at_once_here_and_where_the_store_tells() {
    for at in [TWO, APP] {
        let (world, _one, _two, _watched) = two_processes(|config| config);
        let alice = connected(&world).await;
        let first = token_at(&world, TWO, &alice).await.unwrap();
        assert_eq!(token_at(&world, TWO, &alice).await.as_ref(), Some(&first), "control");
        // Another grant replaces it.
        let connect = format!("{APP}/auth/connect?connection=mail&return_to=/who&prompt=consent");
        assert_eq!(alice.visit(&connect).await.status, 200);
        world.app.store.told().await;
        let second = token_at(&world, TWO, &alice).await.unwrap();
        assert_ne!(first, second, "{at}: a new consent counts");
        assert_eq!(world.ask(at, &alice, "/disconnect").await.unwrap().status(), 200);
        world.app.store.told().await;
        assert_eq!(token_at(&world, TWO, &alice).await, None, "{at}: it is taken back");
    }
}

/// Where the store tells nothing, it is seen within `max_staleness`.
#[tokio::test]
async fn where_nothing_is_heard_the_end_of_a_grant_is_seen_within_the_staleness() {
    let (world, _one, _two, watched) = two_processes(|config| config);
    watched.trouble(Verb::Listen, Trouble::Hang);
    let alice = connected(&world).await;
    let token = token_at(&world, TWO, &alice).await;
    assert!(token.is_some());
    assert_eq!(world.ask(APP, &alice, "/disconnect").await.unwrap().status(), 200);
    world.app.store.told().await;
    assert_eq!(token_at(&world, TWO, &alice).await, token, "it is believed");
    world.clock.advance(Duration::from_millis(2001));
    assert_eq!(token_at(&world, TWO, &alice).await, None);
}

/// Whoever signs out gets nothing more of it, also of what is known.
#[tokio::test]
async fn a_session_that_ended_gets_nothing_of_what_is_known() {
    let (world, one, _two, _watched) = two_processes(|config| config);
    let alice = connected(&world).await;
    assert!(token_at(&world, APP, &alice).await.is_some());
    assert!(token_at(&world, APP, &alice).await.is_some(), "control: it is known");
    assert_eq!(world.back_channel(&world.logout_token("alice")).await.status(), 200);
    assert_eq!(token_at(&world, APP, &alice).await, None);
    drop(one);
}

/// A token that is nearly over is not handed out for being known.
#[tokio::test]
async fn what_is_known_ends_with_its_token() {
    let (world, _one, _two, _watched) = two_processes(|mut config| {
        config.max_staleness = Duration::from_secs(24 * 3600);
        config
    });
    let alice = connected(&world).await;
    let first = token_at(&world, TWO, &alice).await.unwrap();
    assert_eq!(token_at(&world, TWO, &alice).await.as_ref(), Some(&first), "control");
    world.clock.advance(Duration::from_secs(3596));
    let second = token_at(&world, TWO, &alice).await.unwrap();
    assert_ne!(first, second);
}
