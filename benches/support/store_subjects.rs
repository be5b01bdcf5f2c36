//! The stores, each with a client of its own beside it. A new one is a function in [`ALL`].

use std::alloc::System;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ::redis::aio::MultiplexedConnection;
use rusqlite::{Connection, params};
use stats_alloc::StatsAlloc;
use tokio_postgres::{Client as Postgres, NoTls, Statement};
use tower_oidc::store::{BoxFuture, Key, MemoryStore, PostgresStore, Record, RedisStore, SqliteStore, Store};
use tower_oidc_test_support::{postgres, redis as redis_server};

pub type Start = fn(&'static StatsAlloc<System>) -> BoxFuture<'static, Option<Subject>>;

pub const ALL: [Start; 4] = [memory, sqlite, postgres, redis];

pub struct Subject {
    pub name: &'static str,
    pub store: Arc<dyn Store>,
    pub client: Box<dyn Client>,
}

/// What the database does without the crate.
pub trait Client: Send + Sync {
    /// The smallest question.
    fn ask(&self) -> BoxFuture<'_, ()>;
    /// The smallest write that is as durable as the store's.
    fn write(&self) -> BoxFuture<'_, ()>;
    /// Many new rows at once, as the store would write each.
    fn fill(&self, rows: Vec<(Key, Record)>) -> BoxFuture<'_, ()>;
    /// What the records take.
    fn bytes(&self) -> BoxFuture<'_, u64>;
}

fn memory(allocator: &'static StatsAlloc<System>) -> BoxFuture<'static, Option<Subject>> {
    struct Map(MemoryStore, Mutex<u64>, &'static StatsAlloc<System>);
    impl Client for Map {
        fn ask(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {
                std::hint::black_box(*self.1.lock().unwrap());
            })
        }
        fn write(&self) -> BoxFuture<'_, ()> {
            Box::pin(async { *self.1.lock().unwrap() += 1 })
        }
        fn fill(&self, rows: Vec<(Key, Record)>) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                for (key, record) in rows {
                    self.0.swap(key, None, record).await.expect("it works").expect("it is new");
                }
            })
        }
        fn bytes(&self) -> BoxFuture<'_, u64> {
            let stats = self.2.stats();
            Box::pin(async move { (stats.bytes_allocated - stats.bytes_deallocated) as u64 })
        }
    }
    Box::pin(async move {
        let store = MemoryStore::new();
        let client = Box::new(Map(store.clone(), Mutex::default(), allocator));
        Some(Subject { name: "memory", store: Arc::new(store), client })
    })
}

fn sqlite(_: &'static StatsAlloc<System>) -> BoxFuture<'static, Option<Subject>> {
    struct File {
        folder: PathBuf,
        connection: Arc<Mutex<Connection>>,
    }
    impl File {
        /// Off the runtime's threads, as any asynchronous application has to.
        fn run<T: Send + 'static>(
            &self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
        ) -> BoxFuture<'_, T> {
            let connection = Arc::clone(&self.connection);
            let task = tokio::task::spawn_blocking(move || work(&mut connection.lock().unwrap()));
            Box::pin(async move { task.await.expect("no panic").expect("it works") })
        }
    }
    impl Client for File {
        fn ask(&self) -> BoxFuture<'_, ()> {
            self.run(|file| file.prepare_cached("SELECT 1")?.query_row([], |_| Ok(())))
        }
        fn write(&self) -> BoxFuture<'_, ()> {
            self.run(|file| file.prepare_cached("UPDATE bench SET n = n + 1")?.execute([]).map(drop))
        }
        fn fill(&self, rows: Vec<(Key, Record)>) -> BoxFuture<'_, ()> {
            self.run(move |file| {
                let transaction = file.transaction()?;
                for (key, record) in rows {
                    let insert = "INSERT INTO tower_oidc_records
                        SELECT ?1, last_version + 1, ?2, ?3, ?4, ?5 FROM tower_oidc_state";
                    let expires_at = record.expires_at.as_millis() as i64;
                    let [tag1, tag2] = [0, 1].map(|tag| record.tags.get(tag).map(|tag| tag.0));
                    let row = params![key.0, expires_at, tag1, tag2, &record.bytes[..]];
                    transaction.prepare_cached(insert)?.execute(row)?;
                    transaction
                        .prepare_cached("UPDATE tower_oidc_state SET last_version = last_version + 1")?
                        .execute([])?;
                }
                transaction.commit()
            })
        }
        fn bytes(&self) -> BoxFuture<'_, u64> {
            self.run(|file| {
                let pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
                file.query_row(pages, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
            })
        }
    }
    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
    Box::pin(async {
        let folder = std::env::temp_dir().join(format!("tower-oidc-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("records.sqlite");
        let store = SqliteStore::open(&path).expect("a new file");
        let connection = Connection::open(&path).expect("the same file");
        connection
            .execute_batch("PRAGMA synchronous = FULL; CREATE TABLE bench (n); INSERT INTO bench VALUES (0)")
            .expect("a table beside");
        let client = Box::new(File { folder, connection: Arc::new(Mutex::new(connection)) });
        Some(Subject { name: "SQLite", store: Arc::new(store), client })
    })
}

fn postgres(_: &'static StatsAlloc<System>) -> BoxFuture<'static, Option<Subject>> {
    struct Server {
        client: Postgres,
        ask: Statement,
        write: Statement,
        _server: postgres::Postgres,
    }
    impl Client for Server {
        fn ask(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {
                self.client.query_one(&self.ask, &[]).await.expect("it works");
            })
        }
        fn write(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {
                self.client.execute(&self.write, &[]).await.expect("it works");
            })
        }
        fn fill(&self, rows: Vec<(Key, Record)>) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                let keys: Vec<_> = rows.iter().map(|(key, _)| &key.0[..]).collect();
                let expire: Vec<_> = rows.iter().map(|(_, record)| record.expires_at.as_millis() as i64).collect();
                let tags = [0, 1].map(|tag| {
                    let tags = rows.iter().map(|(_, record)| record.tags.get(tag).map(|tag| &tag.0[..]));
                    tags.collect::<Vec<_>>()
                });
                let contents: Vec<_> = rows.iter().map(|(_, record)| &record.bytes[..]).collect();
                let insert = "INSERT INTO tower_oidc_records
                    SELECT key, nextval('tower_oidc_versions'), expires_at, tag1, tag2, contents
                    FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[])
                    AS row (key, expires_at, tag1, tag2, contents)";
                let inserted = self.client.execute(insert, &[&keys, &expire, &tags[0], &tags[1], &contents]).await;
                inserted.expect("it works");
            })
        }
        fn bytes(&self) -> BoxFuture<'_, u64> {
            Box::pin(async {
                let size = "SELECT pg_total_relation_size('tower_oidc_records')";
                let size = self.client.query_one(size, &[]).await.expect("it works");
                size.get::<_, i64>(0).unsigned_abs()
            })
        }
    }
    Box::pin(async {
        let server = postgres::Postgres::durable()?;
        let url = server.database().await;
        PostgresStore::migrate(&url).await.expect("a new database");
        let store = PostgresStore::connect_lazy(&url).expect("a good URL");
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("it is there");
        tokio::spawn(connection);
        let beside = "CREATE TABLE bench (n bigint); INSERT INTO bench VALUES (0)";
        client.batch_execute(beside).await.expect("a table beside");
        let ask = client.prepare("SELECT 1").await.expect("it works");
        let write = client.prepare("UPDATE bench SET n = n + 1").await.expect("it works");
        let client = Box::new(Server { client, ask, write, _server: server });
        Some(Subject { name: "PostgreSQL", store: Arc::new(store), client })
    })
}

fn redis(_: &'static StatsAlloc<System>) -> BoxFuture<'static, Option<Subject>> {
    struct Server {
        store: RedisStore,
        connection: MultiplexedConnection,
        _server: redis_server::Redis,
    }
    impl Client for Server {
        fn ask(&self) -> BoxFuture<'_, ()> {
            let mut connection = self.connection.clone();
            Box::pin(async move { ::redis::cmd("PING").exec_async(&mut connection).await.expect("it works") })
        }
        fn write(&self) -> BoxFuture<'_, ()> {
            let mut connection = self.connection.clone();
            let mut command = ::redis::cmd("INCR");
            command.arg("bench");
            Box::pin(async move { command.exec_async(&mut connection).await.expect("it works") })
        }
        fn fill(&self, rows: Vec<(Key, Record)>) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                let writes = rows.into_iter().map(|(key, record)| self.store.swap(key, None, record));
                for written in futures_util::future::join_all(writes).await {
                    written.expect("it works").expect("it is new");
                }
            })
        }
        fn bytes(&self) -> BoxFuture<'_, u64> {
            let mut connection = self.connection.clone();
            Box::pin(async move {
                let info = ::redis::cmd("INFO").arg("memory").query_async(&mut connection).await;
                let info: String = info.expect("it works");
                let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
                used.and_then(|bytes| bytes.trim().parse().ok()).expect("it says so")
            })
        }
    }
    Box::pin(async {
        let server = redis_server::Redis::with(&["--appendfsync", "always"])?;
        let url = server.database();
        let store = RedisStore::connect_lazy(&url).expect("a good URL");
        let connection = redis_server::connect(&url).await;
        let client = Box::new(Server { store: store.clone(), connection, _server: server });
        Some(Subject { name: "Redis", store: Arc::new(store), client })
    })
}
