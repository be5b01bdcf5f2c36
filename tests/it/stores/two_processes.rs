//! Two processes over one database, each with a connection of its own.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tower_oidc::EventCode;
use tower_oidc::store::{PostgresStore, RedisStore, SqliteStore, Store};

use crate::support::app::{APP, App, World, routes};
use crate::support::browser::Browser;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::redis::Redis;

const ORIGINS: [&str; 2] = ["https://one.test", "https://two.test"];

async fn who_at(world: &World, origin: &str, browser: &Browser) -> Value {
    let answer = world.ask(origin, browser, "/who").await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    serde_json::from_slice::<Value>(answer.body()).unwrap()["sub"].clone()
}

/// The clock of the world stands still but for one step, so that nothing is found out by waiting.
async fn two_processes<S: Store>(open: impl Fn() -> S) {
    let world = World::new();
    let apps = ORIGINS.map(|origin| {
        let app = App::over(&world.net, &world.clock, open(), world.app.store.clone(), |config| config);
        world.net.serve_service(origin, app.layer.layer(routes()));
        app
    });
    let serve = |at: usize| world.net.serve_service(APP, apps[at].layer.layer(routes()));

    // begun at one, finished at the other.
    let mut browsers = Vec::new();
    for (at, name) in ["alice", "bob"].into_iter().enumerate() {
        world.op.sign_in_as(name);
        let browser = world.browser();
        serve(at);
        let leaving = browser.step(&format!("{APP}/auth/login?return_to=/who")).await;
        let back = browser.follow(&leaving).await.location().unwrap().to_owned();
        serve(1 - at);
        assert_eq!(browser.visit(&back).await.json()["sub"], format!("{}1", &name[..1]));
        assert!(apps[1 - at].events.has(EventCode::LoginSucceeded));
        browsers.push(browser);
    }
    let [alice, bob] = &browsers[..] else { panic!("two people") };
    for origin in ORIGINS {
        assert_eq!(
            (who_at(&world, origin, alice).await, who_at(&world, origin, bob).await),
            ("a1".into(), "b1".into())
        );
    }

    // fifty requests at the moment of expiry, at both.
    world.clock.advance(Duration::from_secs(3600));
    let asked = join_all((0..50).map(|n| world.tok_at(ORIGINS[n % 2], alice))).await;
    assert!(asked.iter().all(|answer| answer.0 == 200 && *answer == asked[0]), "{asked:?}");
    assert_eq!(world.op.owner_of(&asked[0].1).as_deref(), Some("alice"));
    assert_eq!((world.op.refreshes().len(), world.op.reuse_detected()), (1, 0));

    // the provider tells one of them, and she is out at the other as soon as the database has told it.
    assert_eq!(who_at(&world, ORIGINS[1], alice).await, "a1");
    serve(0);
    let token = world.logout_token("alice");
    assert_eq!(world.back_channel(&token).await.status(), 200);
    assert_eq!(who_at(&world, ORIGINS[0], alice).await, Value::Null);
    eventually("the other hears of it", Duration::from_secs(20), async || {
        who_at(&world, ORIGINS[1], alice).await.is_null().then_some(())
    })
    .await;
    assert_eq!(who_at(&world, ORIGINS[1], bob).await, "b1");
    serve(1);
    assert_eq!(world.back_channel(&token).await.status(), 400, "a replay at the other");
    let left = join_all(ORIGINS.map(|origin| world.tok_at(origin, alice))).await;
    assert!(left.iter().all(|(status, _)| *status == 401), "{left:?}");
}

#[tokio::test]
async fn on_sqlite() {
    let folder = Folder::new();
    two_processes(|| SqliteStore::open(folder.file()).unwrap()).await;
}

#[tokio::test]
async fn on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    two_processes(|| PostgresStore::connect_lazy(&url).unwrap()).await;
}

#[tokio::test]
async fn on_redis() {
    let Some(server) = Redis::shared() else { return };
    let url = server.database();
    two_processes(|| RedisStore::connect_lazy(&url).unwrap()).await;
}
