//! Many grants that expire in the same moment, while two replicas share a store that takes its time.
//!
//! The test command does it with sixty grants. `tests/run.sh load` does it with six hundred, and with more delay, and prints
//! how long the last one waited.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tower_oidc::EventCode;
use tower_oidc::store::{
    BoxFuture, Change, Key, PostgresStore, Record, RedisStore, SqliteStore, Store, StoreError, Stored, Tag, Version,
};

use super::{APP, HOUR, REPLICA, World, routes};
use crate::support::app::App;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Proxy, Wire};
use crate::support::redis::Redis;

/// How many grants, and the longest round trip to the store.
fn load() -> (usize, Duration) {
    let grants = std::env::var("TOWER_OIDC_GRANTS").ok().map(|grants| grants.parse().expect("a number"));
    grants.map_or((60, Duration::from_millis(20)), |grants| (grants, Duration::from_millis(120)))
}

/// Everybody asks at both replicas at once, for each round trip that is given.
async fn expire_together(
    store: &str, connect: impl Fn() -> Arc<dyn Store>, trips: &[Duration], delay: impl Fn(Duration),
) {
    let mut world = World::new();
    world.serve_over(connect(), |config| config);
    let replica = App::over(&world.net, &world.clock, connect(), world.app.store.clone(), |config| config);
    world.net.serve_service(REPLICA, replica.layer.layer(routes()));
    let mut people = Vec::new();
    for number in 0..load().0 {
        let name = format!("p{number}");
        world.op.user(&name, |user| user.sub.clone_from(&name));
        people.push(world.signed_in(&name).await);
    }
    for (round, trip) in trips.iter().enumerate() {
        world.clock.advance(HOUR);
        delay(*trip);
        let started = Instant::now();
        let asked: Vec<_> =
            people.iter().flat_map(|person| [APP, REPLICA].map(|at| world.asking(at, person))).collect();
        let mut answers = BTreeMap::new();
        for answer in asked {
            *answers.entry(answer.await.unwrap().unwrap().status().as_u16()).or_insert(0) += 1;
        }
        let (grants, waited) = (people.len(), started.elapsed().as_secs_f32());
        println!("{store}, {trip:?} a round trip: {grants} grants, the last after {waited:.1} s");
        let events = world.app.events.all().into_iter().chain(replica.events.all());
        let failures = events.filter(|event| matches!(event.code, EventCode::StoreFailed | EventCode::RefreshFailed));
        let failures: BTreeSet<_> = failures.map(|event| format!("{event:?}")).collect();
        assert_eq!(answers, BTreeMap::from([(200, 2 * grants)]), "{store}, {trip:?} a round trip: {failures:#?}");
        let refreshes = (world.op.refreshes().len(), world.op.reuse_detected());
        assert_eq!(refreshes, ((round + 1) * grants, 0), "{store}, {trip:?} a round trip");
        delay(Duration::ZERO);
    }
}

/// Half of it on the way there, and half on the way back.
fn delayed(proxy: &Proxy, trip: Duration) {
    proxy.set(if trip.is_zero() { Wire::Sound } else { Wire::Delayed(trip / 2) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_served_once_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let proxy = Proxy::before(server.port()).await;
    let led = proxy.url(&url, server.port());
    let connect = || Arc::new(PostgresStore::connect_lazy(&led).unwrap()) as Arc<dyn Store>;
    let trips = [Duration::from_millis(20), load().1];
    expire_together("PostgreSQL", connect, &trips, |trip| delayed(&proxy, trip)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_served_once_on_redis() {
    let Some(server) = Redis::shared() else { return };
    let url = server.database();
    let proxy = Proxy::before(server.port()).await;
    let led = proxy.url(&url, server.port());
    let connect = || Arc::new(RedisStore::connect_lazy(&led).unwrap()) as Arc<dyn Store>;
    let trips = [Duration::from_millis(20), load().1];
    expire_together("Redis", connect, &trips, |trip| delayed(&proxy, trip)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_served_once_on_sqlite() {
    let folder = Folder::new();
    let disk = Arc::new(Mutex::new(()));
    let connect = || {
        let file = SqliteStore::open(folder.file()).unwrap();
        Arc::new(SlowDisk { file, disk: Arc::clone(&disk) }) as Arc<dyn Store>
    };
    expire_together("SQLite", connect, &[Duration::from_millis(5)], |_| ()).await;
}

/// A file on a disk that takes five milliseconds for each write, one after another.
struct SlowDisk {
    file: SqliteStore,
    disk: Arc<Mutex<()>>,
}

impl SlowDisk {
    async fn written(&self) {
        let _alone = self.disk.lock().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Store for SlowDisk {
    fn load(&self, key: Key) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        self.file.load(key)
    }

    fn swap(
        &self, key: Key, expected: Option<Version>, record: Record,
    ) -> BoxFuture<'_, Result<Option<Version>, StoreError>> {
        Box::pin(async move {
            self.written().await;
            self.file.swap(key, expected, record).await
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.written().await;
            self.file.delete(key, expected).await
        })
    }

    fn find(&self, tag: Tag) -> BoxFuture<'_, Result<Vec<Key>, StoreError>> {
        self.file.find(tag)
    }

    fn delete_expired(&self, older_than: tower_oidc::Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.file.delete_expired(older_than)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.file.wait(key, after, within)
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> BoxFuture<'a, Result<(), StoreError>> {
        self.file.subscribe(heard)
    }
}
