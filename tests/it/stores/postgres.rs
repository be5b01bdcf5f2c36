//! Records in PostgreSQL: starting, stopping, several at once, and a URL that nobody prints.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tower_oidc::store::{Change, Key, PostgresStore, Store, StoreError, StoreErrorKind};

use super::{collecting_leaves_nothing_and_nobody_behind, create, record};
use crate::leaks::Log;
use crate::support::postgres::{ENCODED_PASSWORD, PASSWORD, Postgres};
use crate::support::store_contract;

/// A connection beside the store's.
pub(super) async fn beside(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server is there");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    store_contract::check(Arc::new(PostgresStore::connect_lazy(&url).unwrap())).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract_over_two_that_connected() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let connect = || Arc::new(PostgresStore::connect_lazy(&url).unwrap());
    store_contract::check_two(connect(), connect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_collects_in_batches() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    collecting_leaves_nothing_and_nobody_behind(Arc::new(PostgresStore::connect_lazy(&url).unwrap())).await;
}

#[tokio::test]
async fn a_callers_clock_deletes_nothing_that_lasts() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    super::a_callers_clock_deletes_nothing_that_lasts(PostgresStore::connect_lazy(&url).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_are_made_once_however_many_start() {
    let Some(server) = Postgres::shared() else { return };
    for _ in 0..3 {
        let url = server.database().await;
        let starts: Vec<_> = (0..8)
            .map(|number| {
                let url = url.clone();
                tokio::spawn(async move {
                    create(&PostgresStore::connect_lazy(&url).unwrap(), Key([number; 32])).await;
                    PostgresStore::migrate(&url).await.expect("twice is once");
                })
            })
            .collect();
        for start in starts {
            start.await.expect("each of them starts");
        }
        PostgresStore::connect_migrated(&url).await.expect("and the tables are there");
    }
}

#[tokio::test]
async fn tables_of_another_version_are_refused_by_name() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let says = async || PostgresStore::connect_migrated(&url).await.expect_err("refused").to_string();
    assert!(says().await.contains("run `PostgresStore::migrate`"));
    PostgresStore::migrate(&url).await.unwrap();
    let store = PostgresStore::connect_migrated(&url).await.unwrap();
    let version = create(&store, Key([1; 32])).await;

    let tables = beside(&url).await;
    tables.batch_execute("UPDATE tower_oidc_state SET schema_version = 0").await.unwrap();
    assert!(says().await.contains("older"));
    let store = PostgresStore::connect_lazy(&url).unwrap();
    let stored = store.load(Key([1; 32])).await.expect("what is older is brought up");
    assert_eq!(stored.unwrap().version, version, "with its rows");
    PostgresStore::connect_migrated(&url).await.unwrap();

    tables.batch_execute("UPDATE tower_oidc_state SET schema_version = 2").await.unwrap();
    assert!(says().await.contains("newer"));
    assert!(PostgresStore::migrate(&url).await.unwrap_err().to_string().contains("newer"));
    let refused = PostgresStore::connect_lazy(&url).unwrap().load(Key([1; 32])).await;
    assert!(refused.unwrap_err().to_string().contains("newer"));
}

/// Who forbids it at start: a role that may use the tables and create none.
#[tokio::test]
async fn a_role_that_creates_nothing_can_use_what_is_there() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let admin = beside(&url).await;
    let role = format!("role{}", url.rsplit_once("test").unwrap().1);
    let created = format!("REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {role} LOGIN PASSWORD 'simple'");
    admin.batch_execute(&created).await.unwrap();
    let theirs = url.replace(&format!("test:{ENCODED_PASSWORD}"), &format!("{role}:simple"));
    PostgresStore::migrate(&theirs).await.expect_err("it may not");
    PostgresStore::migrate(&url).await.unwrap();
    let granted = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON tower_oidc_records TO {role};
         GRANT SELECT ON tower_oidc_state TO {role}; GRANT USAGE ON SEQUENCE tower_oidc_versions TO {role}"
    );
    admin.batch_execute(&granted).await.unwrap();
    for store in
        [PostgresStore::connect_lazy(&theirs).unwrap(), PostgresStore::connect_migrated(&theirs).await.unwrap()]
    {
        let version = create(&store, Key([1; 32])).await;
        assert!(store.delete(Key([1; 32]), Some(version)).await.unwrap());
    }
}

#[tokio::test]
async fn an_application_starts_before_its_database_and_outlives_its_absence() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database().await;
    server.stop();
    let store = Arc::new(PostgresStore::connect_lazy(&url).expect("it asks nobody"));
    PostgresStore::connect_migrated(&url).await.expect_err("this one asks");
    let quickly = async || {
        let began = Instant::now();
        store.load(Key([1; 32])).await.expect_err("the server is away");
        store.swap(Key([1; 32]), None, record("x")).await.expect_err("the server is away");
        store.wait(Key([1; 32]), None, Duration::from_secs(60)).await.expect_err("the server is away");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    };
    quickly().await;
    server.resume();
    let mut version = create(&*store, Key([1; 32])).await;

    for stop in [Postgres::stop, Postgres::crash] {
        // As many connections as there can be, all of them dead afterwards.
        let loads = (0..20).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.load(Key([1; 32])).await })
        });
        for load in loads.collect::<Vec<_>>() {
            assert!(load.await.unwrap().unwrap().is_some());
        }
        let waiting = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.wait(Key([1; 32]), Some(version), Duration::from_secs(60)).await })
        };
        stop(&server);
        quickly().await;
        waiting.await.unwrap().expect_err("whoever waits is told");
        server.resume();
        for _ in 0..20 {
            let stored = store.load(Key([1; 32])).await.expect("it is back, at once").expect("with its rows");
            assert_eq!(stored.version, version);
        }
        let written = store.swap(Key([1; 32]), Some(version), record("changed")).await;
        version = written.expect("writing too").expect("nobody else wrote");
    }
}

/// What another process writes wakes by notification; looking takes a second.
#[tokio::test]
async fn who_waits_is_woken_from_elsewhere_before_they_look() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let [one, other] = [(); 2].map(|()| Arc::new(PostgresStore::connect_lazy(&url).unwrap()));
    let mut version = create(&*other, Key([1; 32])).await;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let waiter = {
            let one = Arc::clone(&one);
            tokio::spawn(async move {
                one.wait(Key([1; 32]), Some(version), Duration::from_secs(60)).await.expect("it works");
                Instant::now()
            })
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        let written = other.swap(Key([1; 32]), Some(version), record("x")).await;
        version = written.unwrap().unwrap();
        quickest = quickest.min(waiter.await.unwrap() - began);
    }
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

/// What a store tells one who listens, and with what that ends.
pub(super) fn listen(store: Arc<PostgresStore>) -> (UnboundedReceiver<Change>, JoinHandle<Result<(), StoreError>>) {
    let (send, heard) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn(async move {
        let heard = move |change| send.send(change).unwrap_or_default();
        store.subscribe(&heard).await
    });
    (heard, listening)
}

/// A connection that is cut takes notifications along: whoever listens learns it, and listens again.
#[tokio::test]
async fn who_listens_learns_that_nothing_is_heard() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let [one, other] = [(); 2].map(|()| Arc::new(PostgresStore::connect_lazy(&url).unwrap()));
    let (mut heard, listening) = listen(Arc::clone(&one));
    assert_eq!(heard.recv().await, Some(Change::Any));
    let version = create(&*other, Key([1; 32])).await;
    assert_eq!(heard.recv().await, Some(Change::Row(Key([1; 32]))));
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    beside(&url).await.batch_execute(cut).await.unwrap();
    let error = listening.await.unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("LISTEN is lost"), "{error:?}");
    let (mut heard, listening) = listen(one);
    assert_eq!(heard.recv().await, Some(Change::Any), "what was missed");
    other.delete(Key([1; 32]), Some(version)).await.unwrap();
    while heard.recv().await.expect("it goes on") != Change::Row(Key([1; 32])) {}
    listening.abort();
}

/// The connection belongs to the runtime that needed it first. Where that ends, another one takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_learns_that_the_runtime_of_the_connection_has_ended() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let [one, other] = [(); 2].map(|()| Arc::new(PostgresStore::connect_lazy(&url).unwrap()));
    let (send, begun) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let worker = std::thread::spawn({
        let one = Arc::clone(&one);
        move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async { create(&*one, Key([1; 32])).await });
            send.send(()).unwrap();
            ended.recv().unwrap();
        }
    });
    begun.await.unwrap();
    let (mut heard, listening) = listen(Arc::clone(&one));
    assert_eq!(heard.recv().await, Some(Change::Any));
    end.send(()).unwrap();
    worker.join().unwrap();
    let error = listening.await.unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("runtime"), "{error:?}");
    let (mut heard, listening) = listen(one);
    assert_eq!(heard.recv().await, Some(Change::Any));
    create(&*other, Key([2; 32])).await;
    while heard.recv().await.expect("it goes on") != Change::Row(Key([2; 32])) {}
    listening.abort();
}

/// A server that is away is said to be away, at once and not for ever.
#[tokio::test]
async fn nobody_listens_to_a_server_that_is_away() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = PostgresStore::connect_lazy(&format!("postgres://nobody@{closed}/none")).unwrap();
    let error = store.subscribe(&|_| panic!("there is nothing to hear")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// What a process wrote itself it hears once, and not again when the server repeats it.
#[tokio::test]
async fn nobody_hears_their_own_echo() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().await;
    let [one, other] = [(); 2].map(|()| Arc::new(PostgresStore::connect_lazy(&url).unwrap()));
    let (mut heard, listening) = listen(Arc::clone(&one));
    assert_eq!(heard.recv().await, Some(Change::Any));
    create(&*one, Key([1; 32])).await;
    // What is said by notification comes after all that was said before: the echo would lie in between.
    assert_eq!(heard.recv().await, Some(Change::Row(Key([1; 32]))));
    let stored = other.load(Key([1; 32])).await.unwrap().expect("it is there");
    tokio::time::sleep(Duration::from_millis(200)).await;
    other.delete(Key([1; 32]), Some(stored.version)).await.unwrap();
    create(&*other, Key([2; 32])).await;
    let mut changes = Vec::new();
    while changes.last() != Some(&Change::Row(Key([2; 32]))) {
        changes.push(heard.recv().await.expect("it goes on"));
    }
    assert_eq!(changes, [Change::Row(Key([1; 32])), Change::Row(Key([2; 32]))]);
    listening.abort();
}

/// Nothing that the URL holds is in an error, its causes, `Debug` or a log, of this crate and of all below it.
#[tokio::test]
async fn no_secret_of_a_url_is_printed() {
    let Some(server) = Postgres::shared() else { return };
    let good = server.database().await;
    let (log, _guard) = Log::listen();
    let mut said = Vec::new();
    let mut hear = |what: &dyn std::fmt::Debug| said.push(format!("{what:?} {what:#?}"));
    let store = PostgresStore::connect_lazy(&good).unwrap();
    create(&store, Key([1; 32])).await;
    hear(&store);
    let wrong = [
        good.replace("127.0.0.1", "host.invalid"),
        good.replace(&format!(":{}/", server.port()), ":1/"),
        good.replace(ENCODED_PASSWORD, &format!("{ENCODED_PASSWORD}wrong")),
        good.replace("//test", "//nobody"),
        format!("{good}nowhere"),
        format!("{good}?sslmode=verify-full"),
        format!("{good}?options=-c%20nonsense"),
        format!("{good}?sslmode=wrong"),
        format!("{good}?{ENCODED_PASSWORD}=1"),
        good.replace(ENCODED_PASSWORD, PASSWORD),
        good.replace("postgres://", "mysql://"),
    ];
    for url in wrong {
        let error = match PostgresStore::connect_lazy(&url) {
            Ok(store) => {
                hear(&store);
                store.load(Key([1; 32])).await.expect_err(&url)
            }
            Err(error) => error,
        };
        hear(&error);
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            hear(&error.to_string());
            cause = error.source();
        }
    }
    let said = said.concat() + &log.text();
    assert!(said.contains("password authentication failed"), "errors say what is wrong: {said}");
    for secret in [PASSWORD, ENCODED_PASSWORD, "p@ss", "w?rd", "p%40ss"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}
