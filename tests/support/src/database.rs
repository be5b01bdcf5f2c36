//! The databases that a whole run of the tests can be put on, behind one face.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tower_oidc::Clock;
use tower_oidc::store::{Key, PostgresStore, RedisStore, SqliteStore, Store};

use super::folder::Folder;
use super::postgres::Postgres;
use super::redis::Redis;

/// What Redis puts before the names of rows.
const ROWS: &[u8] = b"{tower-oidc}:";

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Redis,
}

/// A database with nothing in it. It lasts as long as this does.
pub struct Database {
    pub kind: Kind,
    /// What [`TOKEN_STORE`](super::process::Demo) takes.
    pub url: String,
    _folder: Option<Folder>,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Redis];

    /// A new database; `None` and a visible line where its server is not installed.
    pub fn database(self) -> Option<Database> {
        let (url, folder) = match self {
            Self::Sqlite => {
                let folder = Folder::new();
                (format!("sqlite:{}", folder.file().display()), Some(folder))
            }
            Self::Postgres => {
                let server = Postgres::shared()?;
                (outside(server.database()), None)
            }
            Self::Redis => (Redis::shared()?.database(), None),
        };
        Some(Database { kind: self, url, _folder: folder })
    }
}

impl Database {
    /// A handle of its own, as another process has one.
    pub fn open(&self) -> Arc<dyn Store> {
        self.open_with(Clock::system())
    }

    /// The same for a process whose clock this is. Servers have clocks of their own.
    pub fn open_with(&self, clock: Clock) -> Arc<dyn Store> {
        match self.kind {
            Kind::Sqlite => {
                let path = self.url.strip_prefix("sqlite:").expect("a path");
                Arc::new(SqliteStore::open(path).expect("a file").with_clock(clock))
            }
            Kind::Postgres => Arc::new(PostgresStore::connect_lazy(&self.url).expect("a URL")),
            Kind::Redis => Arc::new(RedisStore::connect_lazy(&self.url).expect("a URL")),
        }
    }
}

/// With the database's own means, past the store.
impl Database {
    /// Lets the next test have it. Whoever still uses it loses the connection.
    pub fn give_back(&self) {
        if let (Kind::Postgres, Some(server)) = (self.kind, Postgres::shared()) {
            server.give_back(&self.url);
        }
    }

    /// One that is there already.
    pub fn at(kind: Kind, url: String) -> Self {
        Self { kind, url, _folder: None }
    }

    /// The names of its rows.
    pub fn keys(&self) -> BTreeSet<Key> {
        let keys: Vec<Vec<u8>> = match self.kind {
            Kind::Sqlite => {
                let file = self.file();
                let mut rows = file.prepare("SELECT key FROM tower_oidc_records").expect("a table");
                let keys = rows.query_map([], |row| row.get(0)).expect("rows");
                keys.map(|key| key.expect("a key")).collect()
            }
            Kind::Postgres => {
                let rows = self.sql("SELECT key FROM tower_oidc_records", vec![]);
                rows.iter().map(|row| row.get(0)).collect()
            }
            Kind::Redis => {
                let names: Vec<Vec<u8>> = self.redis(redis::cmd("KEYS").arg("{tower-oidc}:*").clone());
                names.iter().map(|name| name[ROWS.len()..].to_vec()).collect()
            }
        };
        keys.into_iter().map(|key| Key(key.try_into().expect("32 bytes"))).collect()
    }

    /// Copies a whole row over another, or beside it.
    pub fn copy(&self, from: Key, to: Key) {
        const DELETE: &str = "DELETE FROM tower_oidc_records WHERE key = $1";
        const INSERT: &str = "INSERT INTO tower_oidc_records (key, version, expires_at, contents, tag1, tag2, tag3, tag4, tag5, tag6) \
             SELECT $1, version, expires_at, contents, tag1, tag2, tag3, tag4, tag5, tag6 FROM tower_oidc_records WHERE key = $2";
        match self.kind {
            Kind::Sqlite => {
                let file = self.file();
                file.execute(DELETE, [to.0]).expect("it is deleted");
                assert_eq!(file.execute(INSERT, [to.0, from.0]).expect("it is copied"), 1);
            }
            Kind::Postgres => {
                self.sql(DELETE, vec![to.0.to_vec()]);
                self.sql(INSERT, vec![to.0.to_vec(), from.0.to_vec()]);
            }
            Kind::Redis => {
                let name = |key: Key| [ROWS, &key.0[..]].concat();
                let mut copy = redis::cmd("COPY");
                copy.arg(name(from)).arg(name(to)).arg("REPLACE");
                assert_eq!(self.redis::<i64>(copy), 1);
            }
        }
    }

    /// Deletes everything.
    pub fn empty(&self) {
        match self.kind {
            Kind::Sqlite => {
                self.file().execute("DELETE FROM tower_oidc_records", []).expect("it is deleted");
            }
            Kind::Postgres => {
                self.sql("DELETE FROM tower_oidc_records", vec![]);
            }
            Kind::Redis => {
                let _: String = self.redis(redis::cmd("FLUSHDB"));
            }
        }
    }

    /// Where PostgreSQL keeps its files.
    pub fn data_directory(&self) -> PathBuf {
        let rows = self.sql("SELECT setting FROM pg_settings WHERE name = 'data_directory'", vec![]);
        PathBuf::from(rows[0].get::<_, String>(0))
    }

    fn file(&self) -> rusqlite::Connection {
        let path = self.url.strip_prefix("sqlite:").expect("a path");
        let file = rusqlite::Connection::open(path).expect("a file");
        file.busy_timeout(Duration::from_secs(30)).expect("a duration");
        file
    }

    fn sql(&self, statement: &'static str, parameters: Vec<Vec<u8>>) -> Vec<tokio_postgres::Row> {
        let url = self.url.clone();
        outside(async move {
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the server is there");
            tokio::spawn(connection);
            let parameters: Vec<_> =
                parameters.iter().map(|one| one as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
            client.query(statement, &parameters).await.expect("a statement")
        })
    }

    fn redis<T: redis::FromRedisValue + Send + 'static>(&self, command: redis::Cmd) -> T {
        let url = self.url.clone();
        outside(async move {
            let mut connection = super::redis::connect(&url).await;
            command.query_async(&mut connection).await.expect("an answer")
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Where databases are spoken to: beside the tests, whose own runtime may have a clock that stands still.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
}

/// Runs it to its end, wherever the caller is.
pub fn outside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    runtime().spawn(async move { send.send(work.await) });
    receive.recv().expect("no panic")
}
