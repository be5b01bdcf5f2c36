//! Connections of PostgreSQL that pass nothing, that lead to a server that takes no writes, and writes that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tower_oidc::store::{Key, PostgresStore, Store, StoreErrorKind};

use super::{Behind, CALL, MARGIN, create, record, warm};
use crate::stores::postgres::beside;
use crate::support::postgres::Postgres;

/// What stands is acknowledged by something on its way and goes nowhere. New connections work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_pass_nothing_are_left() {
    let Some(behind) = Behind::postgres().await else { return };
    behind.warm().await;
    let version = create(&behind.direct, Key([1; 32])).await;
    behind.proxy.freeze_standing();
    let froze = Instant::now();
    let (worked, failed) = (AtomicU32::new(0), AtomicU32::new(0));
    let worker = async |number: u8| {
        while froze.elapsed() < CALL + MARGIN + Duration::from_secs(1) {
            let began = froze.elapsed();
            let loaded = behind.busy.load(Key([1; 32])).await.map(|stored| stored.expect("a row").version);
            let written = behind.busy.swap(Key([10 + number; 32]), None, record("x")).await.map(drop);
            match (&loaded, &written) {
                (Ok(found), Ok(())) => {
                    assert_eq!(*found, version);
                    worked.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    assert!(began < CALL + MARGIN, "still after {began:?}: {loaded:?} {written:?}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    join_all((0..10).map(worker)).await;
    let (worked, failed) = (worked.into_inner(), failed.into_inner());
    println!("{worked} worked, {failed} failed");
    assert!(worked > 100 && failed <= 20, "{worked} worked, {failed} failed");
}

/// One call at a time, as at night: one frozen connection is enough to doubt all that are idle.
#[tokio::test]
async fn of_ten_idle_connections_that_pass_nothing_one_costs_a_call() {
    let Some(behind) = Behind::postgres().await else { return };
    behind.warm().await;
    behind.proxy.freeze_standing();
    let first = behind.busy.swap(Key([1; 32]), None, record("x")).await.map_err(|error| error.kind());
    assert_eq!(first, Err(StoreErrorKind::OutcomeUnknown), "it was sent");
    for row in 2..20 {
        create(&behind.busy, Key([row; 32])).await;
    }
}

/// Callers that stop waiting leave no connection behind that others get.
#[tokio::test]
async fn who_stops_waiting_returns_no_connection_that_is_silent() {
    let Some(behind) = Behind::postgres().await else { return };
    behind.warm().await;
    behind.proxy.freeze_standing();
    let froze = Instant::now();
    let impatient = async || {
        timeout(Duration::from_millis(50), behind.busy.load(Key([1; 32]))).await.is_ok_and(|loaded| loaded.is_ok())
    };
    while !impatient().await {
        assert!(froze.elapsed() < CALL + MARGIN, "nobody waits, and nothing heals");
    }
    for _ in 0..20 {
        behind.busy.load(Key([1; 32])).await.expect("it works");
    }
}

/// A caller that has gone costs no connection that works.
#[tokio::test]
async fn who_stops_waiting_costs_no_connection() {
    let Some(behind) = Behind::postgres().await else { return };
    behind.warm().await;
    let made = behind.proxy.made();
    for _ in 0..100 {
        let mut load = behind.busy.load(Key([1; 32]));
        // It is polled, so that something is sent, and dropped.
        let _ = timeout(Duration::ZERO, &mut load).await;
        drop(load);
    }
    warm(&behind.busy).await;
    assert_eq!(behind.proxy.made(), made);
}

/// A server that shuts down, or a pooler in front of it, says so in the answer to a statement.
#[tokio::test]
async fn connections_to_a_server_that_shuts_down_are_not_kept() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    PostgresStore::migrate(&url).await.unwrap();
    let admin = beside(&url).await;
    let inserts = async |what: &str| {
        let function =
            format!("CREATE OR REPLACE FUNCTION inserts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; END $$");
        admin.batch_execute(&function).await.unwrap();
    };
    inserts("RETURN NEW").await;
    let trigger = "
        CREATE TABLE seen (process int);
        CREATE TRIGGER inserts BEFORE INSERT ON tower_oidc_records FOR EACH ROW EXECUTE FUNCTION inserts()";
    admin.batch_execute(trigger).await.unwrap();
    for (row, (code, kind, lost)) in [
        ("57P01", StoreErrorKind::OutcomeUnknown, true),
        ("57P02", StoreErrorKind::OutcomeUnknown, true),
        ("57P03", StoreErrorKind::OutcomeUnknown, true),
        ("57P05", StoreErrorKind::OutcomeUnknown, true),
        ("25006", StoreErrorKind::Unavailable, true),
        // The control: errors that say nothing of the connection.
        ("57014", StoreErrorKind::Unavailable, false),
        ("55P03", StoreErrorKind::Unavailable, false),
    ]
    .into_iter()
    .enumerate()
    {
        let store = Arc::new(PostgresStore::connect_lazy(&url).unwrap()) as Arc<dyn Store>;
        warm(&store).await;
        let standing = "SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()";
        let standing: Vec<i32> = admin.query_one(standing, &[]).await.unwrap().get(0);
        inserts(&format!("RAISE EXCEPTION 'the test wants it so' USING ERRCODE = '{code}'")).await;
        let refused = store.swap(Key([row as u8; 32]), None, record("x")).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{code}");
        inserts("INSERT INTO seen VALUES (pg_backend_pid()); RETURN NEW").await;
        create(&store, Key([row as u8; 32])).await;
        let seen = admin.query_one("DELETE FROM seen RETURNING process", &[]).await.unwrap();
        assert_eq!(standing.contains(&seen.get(0)), !lost, "{code}: those that stood are of the same server");
    }
}

/// The name of the server led to a reader for a while.
#[tokio::test]
async fn connections_to_a_server_that_takes_no_writes_are_not_kept() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database().await;
    let (_, name) = url.rsplit_once('/').unwrap();
    let admin = beside(&url).await;
    let set = async |to: &str| {
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}");
        // The session may be one that reads only by default.
        admin.batch_execute(&format!("SET default_transaction_read_only = off; {set}")).await.unwrap();
    };
    PostgresStore::migrate(&url).await.unwrap();
    set("on").await;
    let open = |url: &str| Arc::new(PostgresStore::connect_lazy(url).unwrap()) as Arc<dyn Store>;
    let any = open(&format!("{url}?target_session_attrs=any"));
    let ours = open(&url);
    warm(&any).await;
    assert_eq!(any.swap(Key([1; 32]), None, record("x")).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    ours.load(Key([1; 32])).await.expect_err("the URL does not say that a reader will do");
    warm(&any).await;
    set("off").await;

    let failed = async |store: &dyn Store, first: u8| {
        let writes = (0..40).map(|row| store.swap(Key([first + row; 32]), None, record("x")));
        let mut failed = 0;
        for write in writes {
            failed += usize::from(write.await.is_err());
        }
        failed
    };
    assert!(failed(&*any, 100).await <= 1, "one of them tells of all");
    assert_eq!(failed(&*ours, 150).await, 0);
}

/// Connections that stand when the server begins to refuse writes are left, and new ones are made when it takes them.
#[tokio::test]
async fn a_server_that_stops_taking_writes_is_left_until_it_takes_them() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database().await;
    let store = Arc::new(PostgresStore::connect_lazy(&url).unwrap()) as Arc<dyn Store>;
    warm(&store).await;
    let admin = beside(&url).await;
    let set = async |to: &str| {
        admin.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        admin.batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {to}")).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    let writes = async |row: u8| store.swap(Key([row; 32]), None, record("x")).await.map_err(|error| error.kind());
    set("on").await;
    let mut row = 1;
    while writes(row).await.is_ok() {
        row += 1;
        assert!(row < 200, "it takes them");
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..5 {
        assert_eq!(writes(row).await, Err(StoreErrorKind::Unavailable));
    }
    set("off").await;
    let began = Instant::now();
    while writes(row).await.is_err() {
        assert!(began.elapsed() < CALL + MARGIN, "it takes them again");
    }
    for row in 201..=240 {
        create(&store, Key([row; 32])).await;
    }
}

/// Writes wait for a lock that lets reads pass: they take not all connections, and do not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_leave_connections_to_reads() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let store = Arc::new(PostgresStore::connect_lazy(&url).unwrap()) as Arc<dyn Store>;
    let version = create(&store, Key([200; 32])).await;
    let mut admin = beside(&url).await;
    let lock = admin.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE tower_oidc_records IN SHARE MODE").await.unwrap();
    let writers = (0..20).map(|row| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let began = Instant::now();
            (store.swap(Key([row; 32]), None, record("x")).await.map_err(|error| error.kind()), began.elapsed())
        })
    });
    let writers: Vec<_> = writers.collect();
    let waiting = "
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = lock.prepare(waiting).await.unwrap();
    let (mut reads, mut most) = (0, 0);
    while reads < 70 || writers.iter().any(|writer| !writer.is_finished()) {
        most = most.max(lock.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0));
        let stored = store.load(Key([200; 32])).await.expect("reads go on").expect("a row");
        assert_eq!(stored.version, version);
        reads += 1;
        sleep(Duration::from_millis(10)).await;
    }
    assert!((1..=7).contains(&most), "{most} of ten connections waited");
    for writer in writers {
        let (written, took) = writer.await.unwrap();
        assert_eq!(written, Err(StoreErrorKind::Unavailable), "the server says that it was not done");
        assert!(took < CALL + MARGIN, "{took:?}");
    }
    lock.commit().await.unwrap();
    for row in 0..20 {
        create(&store, Key([row; 32])).await;
    }
}

/// What the URL limits is left as it is.
#[tokio::test]
async fn a_limit_that_the_url_sets_stays() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    create(&PostgresStore::connect_lazy(&url).unwrap(), Key([1; 32])).await;
    let admin = beside(&url).await;
    // A trigger lets the test see the settings of the connection that writes.
    let trigger = "
        CREATE TABLE seen (statement text, lock text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (current_setting('statement_timeout'), current_setting('lock_timeout'));
            RETURN NEW;
        END $$;
        CREATE TRIGGER see BEFORE INSERT ON tower_oidc_records FOR EACH ROW EXECUTE FUNCTION see()";
    admin.batch_execute(trigger).await.unwrap();
    for (row, (options, statement, lock)) in [
        ("", "2500ms", "2s"),
        ("?options=-c%20statement_timeout%3D9s", "9s", "2s"),
        ("?options=-clock_timeout%3D1s%20-c%20deadlock_timeout%3D3s", "2500ms", "1s"),
    ]
    .into_iter()
    .enumerate()
    {
        create(&PostgresStore::connect_lazy(&format!("{url}{options}")).unwrap(), Key([2 + row as u8; 32])).await;
        let seen = admin.query_one("DELETE FROM seen RETURNING statement, lock", &[]).await.unwrap();
        assert_eq!((seen.get::<_, &str>(0), seen.get::<_, &str>(1)), (statement, lock), "{options}");
    }
}
