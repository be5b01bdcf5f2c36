//! PostgreSQL behind a real pgBouncer in transaction mode, where the next statement may reach another connection of the
//! server, which somebody else had before; and over the application's own pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, Pool};
use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tower_oidc::store::{Change, Key, PostgresStore, Store, StoreErrorKind};

use super::postgres::{beside, listen};
use super::{a_callers_clock_deletes_nothing_that_lasts, collecting_leaves_nothing_and_nobody_behind, create, record};
use crate::leaks::Log;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Proxy, Wire};
use crate::support::store_contract;

/// A busy machine may add this.
const MARGIN: Duration = Duration::from_secs(2);

/// A new database, by the URL of the server itself and by that of a store.
struct Pooled {
    pooler: PgBouncer,
    direct: String,
    url: String,
}

impl Pooled {
    async fn new() -> Option<Self> {
        let server = Postgres::shared()?;
        let pooler = PgBouncer::before(server)?;
        let direct = server.database().await;
        let url = format!("{}?pooler=transaction", pooler.url(&direct));
        Some(Self { pooler, direct, url })
    }

    fn open(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::connect_lazy(&self.url).unwrap())
    }

    fn open_listening(&self) -> Arc<PostgresStore> {
        let server: String = form_urlencoded::byte_serialize(self.direct.as_bytes()).collect();
        Arc::new(PostgresStore::connect_lazy(&format!("{}&listen={server}", self.url)).unwrap())
    }

    /// A connection of the application's, through the same pooler.
    async fn application(&self) -> Client {
        beside(&self.pooler.url(&self.direct)).await
    }

    /// Lets writes end as this code of PL/pgSQL says.
    async fn on_insert(&self, when: &str, code: &str) {
        let trigger = format!(
            "CREATE OR REPLACE FUNCTION inserts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {code}; RETURN NEW; END $$;
             DROP TRIGGER IF EXISTS inserts ON tower_oidc_records;
             CREATE {when} INSERT ON tower_oidc_records {}
             FOR EACH ROW EXECUTE FUNCTION inserts()",
            if when.starts_with("CONSTRAINT") { "DEFERRABLE INITIALLY DEFERRED" } else { "" }
        );
        beside(&self.direct).await.batch_execute(&trigger).await.unwrap();
    }
}

/// The first row's columns.
async fn row(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = rows.last().expect("a row");
    (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
}

/// Writes and reads, many at once.
async fn work(store: &Arc<PostgresStore>) {
    let calls = (0..20).map(|number| {
        let store = Arc::clone(store);
        async move {
            let version = create(&store, Key([number; 32])).await;
            assert_eq!(store.load(Key([number; 32])).await.unwrap().unwrap().version, version);
            assert!(store.delete(Key([number; 32]), Some(version)).await.unwrap());
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_store_behind_a_pooler_keeps_the_contract() {
    let Some(pooled) = Pooled::new().await else { return };
    store_contract::check(pooled.open()).await;
    store_contract::check_two(pooled.open(), pooled.open()).await;
}

#[tokio::test]
async fn a_store_behind_a_pooler_that_listens_keeps_the_contract() {
    let Some(pooled) = Pooled::new().await else { return };
    store_contract::check(pooled.open_listening()).await;
    store_contract::check_two(pooled.open_listening(), pooled.open_listening()).await;
    a_callers_clock_deletes_nothing_that_lasts(PostgresStore::connect_lazy(&pooled.url).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_it_collects_in_batches() {
    let Some(pooled) = Pooled::new().await else { return };
    collecting_leaves_nothing_and_nobody_behind(pooled.open()).await;
}

/// By default each transaction of this database would see what there was when it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_are_made_once_behind_a_pooler_however_many_start() {
    let Some(pooled) = Pooled::new().await else { return };
    let (_, name) = pooled.direct.rsplit_once('/').unwrap();
    let isolation = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'");
    beside(&pooled.direct).await.batch_execute(&isolation).await.unwrap();
    PostgresStore::connect_migrated(&pooled.url).await.expect_err("there are none");
    let starts = (0..8).map(|number| {
        let url = pooled.url.clone();
        tokio::spawn(async move {
            create(&PostgresStore::connect_lazy(&url).unwrap(), Key([number; 32])).await;
            PostgresStore::migrate(&url).await.expect("twice is once");
        })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.expect("each of them starts");
    }
    PostgresStore::connect_migrated(&pooled.url).await.expect("and the tables are there");
}

/// The application changes the settings of both connections to the server. Its own are there afterwards, and ours apply
/// while we write.
#[tokio::test]
async fn the_applications_connections_keep_their_settings() {
    let Some(pooled) = Pooled::new().await else { return };
    PostgresStore::migrate(&pooled.url).await.unwrap();
    beside(&pooled.direct).await.batch_execute("CREATE TABLE seen (settings text)").await.unwrap();
    const SETTINGS: &str =
        "SELECT concat_ws(', ', current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('transaction_isolation')) AS settings";
    pooled.on_insert("TRIGGER inserts BEFORE", &format!("INSERT INTO seen {SETTINGS}")).await;
    let theirs = [pooled.application().await, pooled.application().await];
    let both = async |query: &str| {
        let begun = join_all(theirs.iter().map(|client| row(client, "BEGIN; SELECT pg_backend_pid()"))).await;
        assert_ne!(begun[0], begun[1], "each has one of the two connections");
        let rows = join_all(theirs.iter().map(|client| row(client, query))).await;
        join_all(theirs.iter().map(|client| client.batch_execute("COMMIT"))).await;
        rows.concat()
    };
    both("SET default_transaction_isolation = 'serializable'; SET statement_timeout = '7s'; SELECT 1").await;

    work(&pooled.open()).await;
    assert_eq!(both(SETTINGS).await, ["7s, 0, serializable"; 2]);
    assert_eq!(both("SELECT count(*) FROM pg_prepared_statements").await, ["0"; 2]);
    let seen = beside(&pooled.direct).await.query("SELECT DISTINCT settings FROM seen", &[]).await.unwrap();
    assert_eq!(seen.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["2500ms, 2s, read committed"]);
    // Longer than a statement of ours may take.
    assert_eq!(both("SELECT 'done' FROM pg_sleep(3)").await, ["done"; 2]);
}

#[tokio::test]
async fn a_write_behind_a_pooler_waits_for_a_lock_as_long_as_any() {
    let Some(pooled) = Pooled::new().await else { return };
    let store = pooled.open();
    let version = create(&store, Key([1; 32])).await;
    let mut admin = beside(&pooled.direct).await;
    let lock = admin.transaction().await.unwrap();
    lock.batch_execute("SELECT FROM tower_oidc_records FOR UPDATE").await.unwrap();
    let began = Instant::now();
    let error = store.swap(Key([1; 32]), Some(version), record("changed")).await.unwrap_err();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(2) + MARGIN, "{took:?}");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "the server says that it was not done");
    assert!(format!("{error:?}").contains("lock timeout"), "{error:?}");
    lock.commit().await.unwrap();
    assert!(store.swap(Key([1; 32]), Some(version), record("changed")).await.unwrap().is_some());
}

/// A write is three requests: its statement may fail, or COMMIT where a trigger is deferred. The row is absent either way.
#[tokio::test]
async fn the_error_of_a_write_is_the_one_that_the_caller_has() {
    let Some(pooled) = Pooled::new().await else { return };
    let store = pooled.open();
    let mut version = create(&store, Key([0; 32])).await;
    for when in ["TRIGGER inserts BEFORE", "CONSTRAINT TRIGGER inserts AFTER"] {
        for (code, kind) in [
            ("40001", StoreErrorKind::Unavailable),
            ("57014", StoreErrorKind::Unavailable),
            ("23514", StoreErrorKind::Refused),
            ("57P01", StoreErrorKind::OutcomeUnknown),
        ] {
            pooled.on_insert(when, &format!("RAISE EXCEPTION 'the test wants it so' USING ERRCODE = '{code}'")).await;
            let error = store.swap(Key([1; 32]), None, record("x")).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{when} {code}");
            assert!(format!("{error:?}").contains("the test wants it so"), "{error:?}");
            assert!(store.load(Key([1; 32])).await.unwrap().is_none(), "{when} {code}");
            // What does not insert goes on.
            let changed = store.swap(Key([0; 32]), Some(version), record("changed")).await;
            version = changed.unwrap().expect("nobody else writes");
        }
    }
    pooled.on_insert("TRIGGER inserts BEFORE", "NULL").await;
    create(&store, Key([1; 32])).await;
}

#[tokio::test]
async fn a_write_behind_a_pooler_without_an_answer_is_unknown() {
    let Some(pooled) = Pooled::new().await else { return };
    let proxy = Proxy::before(pooled.pooler.port()).await;
    let store = PostgresStore::connect_lazy(&proxy.url(&pooled.url, pooled.pooler.port())).unwrap();
    create(&store, Key([1; 32])).await;
    proxy.set(Wire::AnswerDropped(&["COMMIT"]));
    let error = store.swap(Key([2; 32]), None, record("x")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    create(&store, Key([3; 32])).await;
}

#[tokio::test]
async fn behind_a_pooler_others_are_heard_through_the_server_itself() {
    let Some(pooled) = Pooled::new().await else { return };
    let (log, _guard) = Log::listen();
    let [one, other] = [(); 2].map(|()| pooled.open_listening());
    assert!(!log.text().contains("store.not_listening"));
    let (mut heard, listening) = listen(Arc::clone(&one));
    assert_eq!(heard.recv().await, Some(Change::Any));
    create(&other, Key([1; 32])).await;
    assert_eq!(heard.recv().await, Some(Change::Row(Key([1; 32]))));
    listening.abort();
}

/// The store says so in the log when it is opened, and to the layer. A waiter looks every second, up to a quarter later.
#[tokio::test]
async fn behind_a_pooler_alone_nobody_is_heard_and_who_waits_looks() {
    let Some(pooled) = Pooled::new().await else { return };
    PostgresStore::migrate(&pooled.url).await.unwrap();
    let (log, guard) = Log::listen();
    let one = pooled.open();
    assert_eq!(log.text().matches("store.not_listening").count(), 1, "{}", log.text());
    drop(guard);
    let other = pooled.open();
    one.subscribe(&|change| panic!("{change:?}")).await.expect("it never can");
    let version = create(&other, Key([1; 32])).await;
    let began = Instant::now();
    let waiter = {
        let one = Arc::clone(&one);
        tokio::spawn(async move { one.wait(Key([1; 32]), Some(version), Duration::from_secs(60)).await })
    };
    other.delete(Key([1; 32]), Some(version)).await.unwrap();
    waiter.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_millis(1255) + MARGIN, "{:?}", began.elapsed());
}

/// The limit is for a way that takes its time: a write that waits in between takes three times as long. On a way that takes none
/// the servers' own work counts, which a busy machine spoils.
#[tokio::test]
async fn a_write_behind_a_pooler_takes_one_round_trip() {
    let Some(shared) = Postgres::shared() else { return };
    let durable = Postgres::durable().expect("it is installed");
    let way = Some(Duration::from_millis(20));
    for (what, server, way) in
        [("20 ms each way", shared, way), ("no way, a disk", &durable, None), ("no way, no disk", shared, None)]
    {
        let Some(pooler) = PgBouncer::before(server) else { return };
        let url = server.database().await;
        let places =
            [(server.port(), url.clone()), (pooler.port(), format!("{}?pooler=transaction", pooler.url(&url)))];
        let proxies = join_all(places.each_ref().map(|(port, _)| Proxy::before(*port))).await;
        let mut stores = Vec::new();
        for ((port, url), proxy) in places.iter().zip(&proxies) {
            let url = if way.is_some() { proxy.url(url, *port) } else { url.clone() };
            let (store, key) = (PostgresStore::connect_lazy(&url).unwrap(), Key([stores.len() as u8; 32]));
            let version = create(&store, key).await;
            way.into_iter().for_each(|by| proxy.set(Wire::Delayed(by)));
            stores.push((store, key, version, Vec::new()));
        }
        for _ in 0..if way.is_some() { 15 } else { 200 } {
            // In turns: what else the machine does is for both.
            for (store, key, version, took) in &mut stores {
                let began = Instant::now();
                let written = store.swap(*key, Some(*version), record("x")).await;
                took.push(began.elapsed());
                *version = written.unwrap().expect("nobody else writes");
            }
        }
        stores.iter_mut().for_each(|(.., took)| took.sort());
        let [direct, behind] = [0, 1].map(|store| stores[store].3[stores[store].3.len() / 2]);
        let ratio = behind.as_secs_f64() / direct.as_secs_f64();
        println!("{what}: a write takes {direct:?}, behind the pooler {behind:?}: {ratio:.2} times");
        assert!(way.is_none() || ratio < 1.7, "{ratio}");
    }
}

/// A pool of the application's own, to the server and to the pooler.
#[tokio::test]
async fn a_store_on_the_applications_pool_keeps_the_contract_and_leaves_nothing_there() {
    for through_pooler in [false, true] {
        let Some(pooled) = Pooled::new().await else { return };
        let url = if through_pooler { pooled.pooler.url(&pooled.direct) } else { pooled.direct.clone() };
        let pool = Pool::builder(Manager::new(url.parse().unwrap(), NoTls)).max_size(4).build().unwrap();
        let store = Arc::new(PostgresStore::from_pool(pool.clone(), Some(&pooled.direct)).unwrap());
        store_contract::check(Arc::clone(&store)).await;
        store_contract::check_two(Arc::clone(&store), pooled.open_listening()).await;
        work(&store).await;
        let theirs = join_all((0..4).map(|_| pool.get())).await;
        for client in theirs {
            let client = client.unwrap();
            assert_eq!(row(&client, "SHOW statement_timeout").await, ["0"]);
            assert_eq!(row(&client, "SELECT count(*) FROM pg_prepared_statements").await, ["0"]);
        }
        let error = PostgresStore::from_pool(pool, Some(&pooled.url)).unwrap_err();
        assert!(error.to_string().contains("the server itself"), "{error}");
    }
}
