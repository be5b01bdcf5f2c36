//! The database stops and starts, hangs, is locked or comes back empty, while people are there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Load, PATIENCE, SECRET, Town};
use crate::support::database::Kind;
use crate::support::postgres::Postgres;
use crate::support::process::{Demo, eventually, free_port};
use crate::support::redis::Redis;

/// How long a process goes on with what it was sure of: `max_staleness` and a request's time.
const BELIEVED: Duration = Duration::from_secs(2);
/// What may be said while a database is away.
const EXPECTED: [&str; 3] = ["known", "fetched", "away"];

trait Server {
    fn stop(&self);
    fn resume(&self);
}

impl Server for Redis {
    fn stop(&self) {
        Redis::stop(self);
    }
    fn resume(&self) {
        Redis::resume(self);
    }
}

impl Server for Postgres {
    fn stop(&self) {
        Postgres::stop(self);
    }
    fn resume(&self) {
        Postgres::resume(self);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stops_and_starts_under_load() {
    let Some(redis) = Redis::start() else { return };
    let store = redis.url(0);
    stops_and_starts(redis, store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_and_starts_under_load() {
    let Some(postgres) = Postgres::start() else { return };
    let store = postgres.database().await;
    stops_and_starts(postgres, store).await;
}

/// What is cached goes on for its two seconds, everything else is 503 with `Retry-After` and never "not signed in";
/// nothing is lost when it is back, refreshes included that were under way.
async fn stops_and_starts(server: impl Server, store: String) {
    let town = Town::over(store).await;
    town.op.set(|op| op.access_token_lifetime = 2);
    let demo = town.demo(SECRET, &[]).await;
    let here = || demo.at("");
    let people = town.people(&demo, 8).await;
    let mut ann = town.sign_in(&demo, "ann").await;
    let load = Load::of(people, &[&demo]);
    let mut believed = 0;
    for _ in 0..2 {
        town.refreshes(8).await;
        // What was known before is not believed any more: she is looked up now.
        tokio::time::sleep(BELIEVED + Duration::from_millis(100)).await;
        let sure_at = Instant::now();
        assert_eq!(ann.who(here()).await, "known");
        server.stop();
        let said = ann.who(here()).await;
        assert!(["known", "away"].contains(&said.as_str()), "{said} after {:?}", sure_at.elapsed());
        // (Unless the server took longer to stop.)
        believed += usize::from(said == "known" || sure_at.elapsed() > BELIEVED);
        assert_eq!(ann.api(here()).await, "away", "tokens need the store each time");
        tokio::time::sleep((BELIEVED + Duration::from_millis(100)).saturating_sub(sure_at.elapsed())).await;
        for _ in 0..20 {
            assert_eq!(ann.who(here()).await, "away");
        }
        server.resume();
        eventually("she is known again", PATIENCE, async || {
            (ann.who(here()).await == "known" && ann.api(here()).await == "fetched").then_some(())
        })
        .await;
    }
    // Once is enough: what the database told of last may have been this row, or one that shares a place with it.
    assert!(believed > 0, "what is cached goes on");
    town.refreshes(16).await;
    assert_nothing_is_lost(&town, &demo, load).await;
}

async fn assert_nothing_is_lost(town: &Town, demo: &Demo, load: Load) {
    let (mut people, said) = load.end().await;
    let bad: Vec<_> = said.keys().filter(|said| !EXPECTED.contains(&said.as_str())).collect();
    assert_eq!(bad, [] as [&String; 0], "{said:?}");
    assert!(said["known"] > 50 && said["fetched"] > 50, "{said:?}");
    for person in &mut people {
        assert_eq!(person.who(demo.at("")).await, "known");
        assert_eq!(person.api(demo.at("")).await, "fetched");
    }
    assert_eq!((town.op.authorizations().len(), town.op.reuse_detected()), (9, 0), "{said:?}");
    println!("{said:?}, {} refreshes", town.op.refreshes().len());
}

/// Somebody else writes to the file, for longer than a write waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_file_under_load() {
    let database = Kind::Sqlite.database().expect("always there");
    let path = database.url.strip_prefix("sqlite:").expect("a path").to_owned();
    let town = Town::new(database).await;
    town.op.set(|op| op.access_token_lifetime = 2);
    let demo = town.demo(SECRET, &[]).await;
    let people = town.people(&demo, 8).await;
    let mut ann = town.sign_in(&demo, "ann").await;
    let load = Load::of(people, &[&demo]);
    for _ in 0..2 {
        town.refreshes(8).await;
        let lock = rusqlite::Connection::open(&path).unwrap();
        lock.busy_timeout(PATIENCE).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut away = 0;
        eventually("no refresh can begin", PATIENCE, async || {
            let said = ann.api(demo.at("")).await;
            assert!(EXPECTED.contains(&said.as_str()), "{said}");
            away += usize::from(said == "away");
            (away == 3).then_some(())
        })
        .await;
        assert_eq!(ann.who(demo.at("")).await, "known", "reading needs no lock");
        lock.execute_batch("ROLLBACK").unwrap();
    }
    town.refreshes(16).await;
    assert_nothing_is_lost(&town, &demo, load).await;
}

/// Stands before a server, and passes on nothing while it is told not to.
struct Freezer {
    port: u16,
    frozen: watch::Sender<bool>,
}

impl Freezer {
    async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (frozen, told) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (outside, _) = listener.accept().await.unwrap();
                let inside = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let ((outside_in, outside_out), (inside_in, inside_out)) = (outside.into_split(), inside.into_split());
                tokio::spawn(pass(outside_in, inside_out, told.clone()));
                tokio::spawn(pass(inside_in, outside_out, told.clone()));
            }
        });
        Self { port, frozen }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let thawed = frozen.wait_for(|frozen| !frozen).await.is_ok();
        if !thawed || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// A server that takes connections and says nothing: five seconds at the most, and then 503.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_costs_five_seconds_and_nobody_their_session() {
    let mut servers = Vec::new();
    if let Some(redis) = Redis::shared() {
        servers.push((redis.database(), redis.port()));
    }
    if let Some(postgres) = Postgres::shared() {
        servers.push((postgres.database().await, postgres.port()));
    }
    for (url, port) in servers {
        let freezer = Freezer::before(port).await;
        let town = Town::over(url.replace(&format!(":{port}/"), &format!(":{}/", freezer.port))).await;
        let demo = town.demo(SECRET, &[]).await;
        let mut ann = town.sign_in(&demo, "ann").await;
        freezer.frozen.send_replace(true);
        // What it was told a moment ago it believes for two seconds.
        eventually("what it knows is over", PATIENCE, async || (ann.api(demo.at("")).await == "away").then_some(()))
            .await;
        let asked_at = Instant::now();
        assert_eq!(ann.api(demo.at("")).await, "away", "{url}");
        // It looks at the session, and then at the grant.
        assert!(asked_at.elapsed() < Duration::from_secs(12), "{:?}", asked_at.elapsed());
        let asked_at = Instant::now();
        assert_eq!(ann.who(demo.at("")).await, "away", "{url}");
        assert!(asked_at.elapsed() < Duration::from_secs(7), "{:?}", asked_at.elapsed());
        freezer.frozen.send_replace(false);
        eventually("it answers again", PATIENCE, async || {
            let said = ann.api(demo.at("")).await;
            assert!(EXPECTED.contains(&said.as_str()), "{said}");
            (said == "fetched").then_some(())
        })
        .await;
        assert_eq!(ann.who(demo.at("")).await, "known");
        assert_eq!(town.op.authorizations().len(), 1);
    }
}

/// Everything is gone: one login, which the provider answers by itself, and no circles; at a process that was there
/// before, at one that was started after, and between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_back_empty_is_one_clean_login() {
    for kind in Kind::ALL {
        let Some(database) = kind.database() else { continue };
        let database = Arc::new(database);
        let town = Town::over(database.url.clone()).await;
        let other = free_port();
        let old = town.demo(SECRET, &[]).await;
        let second = town.demo_at(other, SECRET, &[]).await;
        let mut ann = town.sign_in(&old, "ann").await;
        let before = ann.client.cookies("127.0.0.1").map(|(_, value)| value.to_owned()).collect::<Vec<_>>();
        database.empty();
        tokio::time::sleep(BELIEVED + Duration::from_millis(100)).await;
        assert_eq!(ann.who(old.at("")).await, "nobody", "{kind:?}");
        ann.client.trail.clear();
        let page = ann.client.visit(&old.at("/private")).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (200, "/private"), "{kind:?}");
        assert!(ann.client.trail.len() <= 6, "{kind:?}: {:?}", ann.client.trail);
        assert!(ann.client.cookies("127.0.0.1").all(|(_, value)| !before.iter().any(|old| old == value)));
        assert_eq!(ann.api(old.at("")).await, "fetched", "{kind:?}");
        // Whoever is started now finds what the others made since.
        super::retire(second).await;
        let new = town.demo_at(other, SECRET, &[]).await;
        for process in [&new, &old, &new] {
            assert_eq!(ann.who(process.at("")).await, "known", "{kind:?}");
            assert_eq!(ann.api(process.at("")).await, "fetched", "{kind:?}");
        }
        assert_eq!(town.op.authorizations().len(), 2, "{kind:?}");
    }
}
