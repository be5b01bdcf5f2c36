//! The databases that a whole run of the tests can be put on, behind one face.

use std::fmt;
use std::sync::{Arc, OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};
use tower_oidc::store::{PostgresStore, RedisStore, SqliteStore, Store};

use super::folder::Folder;
use super::postgres::Postgres;
use super::redis::Redis;

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
        match self.kind {
            Kind::Sqlite => {
                let path = self.url.strip_prefix("sqlite:").expect("a path");
                Arc::new(SqliteStore::open(path).expect("a file"))
            }
            Kind::Postgres => Arc::new(PostgresStore::connect(&self.url).expect("a URL")),
            Kind::Redis => Arc::new(RedisStore::connect(&self.url).expect("a URL")),
        }
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
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Runs it to its end, wherever the caller is.
pub fn outside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    runtime().spawn(async move { send.send(work.await) });
    receive.recv().expect("no panic")
}
