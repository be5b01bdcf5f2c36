//! Records in PostgreSQL.

mod notify;
mod pool;
mod tables;
mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use self::notify::NotifyListener;
use self::pool::{LIMITS, Pool, PoolAnswer, PooledConnection, PostgresServer, StatementConnection, step};
use self::url::PostgresUrl;
use super::columns::{self, Columns};
use super::notifier::Notifier;
use super::{Change, Key, Record, Store, StoreError, StoreErrorKind, StoreFuture, Stored, Tag, Version};
use crate::clock::Timestamp;
use crate::events::EventCode;
use crate::secret::opaque;

/// How often those who wait look by themselves, for the case that a notification was lost.
const LOOK: Duration = Duration::from_secs(1);
/// Callers wait five seconds for a store: an answer comes before that, if only an error.
const CALL: Duration = Duration::from_millis(4750);

/// A store in PostgreSQL (tested with 15), for applications of several processes or machines. Clones share their
/// connections.
///
/// ```
/// use tower_oidc::store::PostgresStore;
///
/// let url = "postgres://app:p%40ssword@db.example.test/app?sslmode=verify-full";
/// let store = PostgresStore::connect_lazy(url)?; // asks nobody yet
/// # Ok::<(), tower_oidc::store::StoreError>(())
/// ```
///
/// # The URL
///
/// `postgres://user:password@host:port/database?parameters`, with reserved characters percent-encoded. Nothing of it is
/// ever printed. The parameters are those of `tokio-postgres` (`connect_timeout`, `application_name`, `options` with
/// `-c search_path=…`, several hosts, `target_session_attrs`, which is `read-write` here by default), and for TLS:
///
/// | `sslmode` | |
/// |---|---|
/// | `disable` | none |
/// | `prefer` (default) | encrypted where the server offers it, its certificate not verified: for networks of your own |
/// | `require`, `verify-ca`, `verify-full` | encrypted, certificate and host name verified: for all others |
///
/// `sslrootcert=PATH` adds root certificates (PEM) to the Mozilla roots, for providers that sign their own. Unlike
/// libpq, `require` does verify. `pooler` and `listen` are for [poolers](#behind-a-pooler).
///
/// # What the tables hold
///
/// Everything is a hash, sealed, or a number: nothing in them names a person or opens an account. They lie in the
/// first schema of the `search_path`.
///
/// | table | column | meaning |
/// |---|---|---|
/// | `tower_oidc_records` | `key` | the row's name, 32 bytes: a hash |
/// | | `version` | which writing this is, from the sequence `tower_oidc_versions` |
/// | | `expires_at` | when it no longer counts, in milliseconds since the Unix epoch; indexed |
/// | | `tag1` to `tag6` | under which it is found for logouts, 32 bytes each: keyed hashes; indexed |
/// | | `contents` | the record, sealed |
/// | `tower_oidc_state` | `schema_version` | the version of these tables, 1 |
///
/// # What it promises
///
/// - *Durability* is the database's own: with `synchronous_commit = off` a crash of the server takes the last moments'
///   writes along, and with them a rotated refresh token: leave it on for this database. Without synchronous
///   replication a failover does the same.
/// - *While the server is away* each call fails, at once where connections are refused and within five seconds
///   otherwise, and works again as soon as it is back. It takes at most two seconds to have a connection; an answer is
///   waited for for 2.75 seconds. Look-ups without an answer are repeated once, and are `Unavailable` then. Writes never
///   are: one that was sent is `OutcomeUnknown`.
/// - *A connection that hangs* is given up together with its answer, and the idle ones with it: something on their way
///   may pass nothing any more. One that was idle for 15 seconds is asked first. A statement whose caller has gone keeps
///   its connection until it has answered.
/// - *A server that takes no writes* (read-only, or about to shut down) loses its connections. New ones are made to a
///   server that takes writes, unless the URL has another `target_session_attrs`. A connection lives for 24 to 36
///   minutes, because the server's name may lead elsewhere by then.
/// - *Connections*: up to ten, of which writes have seven at most, so that look-ups go on while writes wait for a lock;
///   and one that notifies and listens, which is asked every three seconds. Writes are single statements. The server
///   ends a statement after 2.5 seconds (`statement_timeout`) and its wait for a lock after two (`lock_timeout`), unless
///   the URL's `options` name these settings.
/// - *Waiting and listening*: after each write the process says which row it was (`NOTIFY tower_oidc`, on a connection
///   of its own and many rows at once, because a write that notified by itself would queue with all others). Whoever
///   waits also looks every second; whoever listens is told that anything may have changed when that connection was
///   lost.
/// - *Collecting*: the layer calls [`delete_expired`](Store::delete_expired) at most every ten minutes in each process,
///   while people sign in, which is fine: it deletes 1,000 rows at a time and skips what another
///   collector has in hand. It deletes nothing that has not expired by the server's clock.
///
/// # Behind a pooler
///
/// `pooler=transaction` says that the URL leads to a pooler that lends a connection to the server for a transaction, such as
/// pgBouncer with `pool_mode = transaction`. With [`from_pool`](Self::from_pool) the connections are the application's. In
/// both cases others use them too, and the store leaves nothing behind on them:
///
/// - *Settings*: a write is a transaction, in which `lock_timeout` and `statement_timeout` are as above (`SET LOCAL`). All of
///   it is sent at once: it takes one round trip. A look-up has the settings that it finds.
/// - *Prepared statements*: there are none, and `max_prepared_statements` may be zero.
/// - *Notifications* do not pass such a pooler. `listen=URL` names the server itself for the one connection that notifies and
///   listens: a URL as above, percent-encoded as a whole (`listen=postgres%3A%2F%2Fapp…`). Without it, the store warns at the
///   start under the code `store.not_listening`: others hear nothing of its writes, it hears nothing of theirs, whoever waits
///   looks every second, and a logout elsewhere takes effect within
///   [`Config::max_staleness`](crate::Config::max_staleness).
/// - *While the server is away* the pooler answers for it, or keeps the statement: a write is `OutcomeUnknown` then.
///
/// Session pooling needs no parameter.
#[derive(Clone)]
pub struct PostgresStore(Arc<PostgresShared>);

struct PostgresShared {
    pool: Pool,
    /// Filled once the tables are known to be of this version.
    migrated: OnceCell<()>,
    changes: Arc<Notifier>,
    news: NotifyListener,
}

impl PostgresStore {
    /// A store at this URL. It asks nobody yet: an application may start while its database is away, and answers
    /// 503 until it is back. The first call brings the tables to this version.
    ///
    /// # Errors
    ///
    /// The URL cannot be read, or the file it names in `sslrootcert`. A server that is away or that refuses, and
    /// tables of a newer version, are the error of each later call.
    pub fn connect_lazy(url: &str) -> Result<Self, StoreError> {
        open(url).map(|(pool, server)| Self::over(pool, server))
    }

    /// A store on the application's own pool of connections, which lead to the server or to a [pooler](#behind-a-pooler).
    /// `listen` is the URL of the server itself, as in a URL's parameter `listen`. How many connections there are and when
    /// one is checked or replaced is the pool's affair; the store gives up those that do not answer. It asks nobody yet.
    ///
    /// # Errors
    ///
    /// The URL in `listen` cannot be read.
    pub fn from_pool(pool: deadpool_postgres::Pool, listen: Option<&str>) -> Result<Self, StoreError> {
        Ok(Self::over(Pool::over(pool, LIMITS), listen.map(listen_server).transpose()?))
    }

    fn over(pool: Pool, server: Option<PostgresServer>) -> Self {
        if server.is_none() {
            // A store is made before the layer whose events it has.
            let code = EventCode::StoreNotListening.as_str();
            tracing::warn!(target: "tower_oidc", code, "no change elsewhere is heard: `listen` names no server");
        }
        let changes = Arc::default();
        let news = NotifyListener::new(server, Arc::clone(&changes));
        Self(Arc::new(PostgresShared { pool, migrated: OnceCell::new(), changes, news }))
    }

    /// Connects to a database whose tables are there already, for those who change no tables at start.
    ///
    /// # Errors
    ///
    /// As [`connect_lazy`](Self::connect_lazy); also where the server is away, or its tables are missing or not of this version,
    /// for which [`migrate`](Self::migrate) is there.
    pub async fn connect_migrated(url: &str) -> Result<Self, StoreError> {
        let store = Self::connect_lazy(url)?;
        step(async { tables::check(&*store.0.pool.own().await?).await }).await?;
        store.0.migrated.get_or_init(async || {}).await;
        Ok(store)
    }

    /// Creates the tables, or brings them to this version; does nothing where that is done. Any number of processes
    /// may do so at once.
    ///
    /// # Errors
    ///
    /// The server is away, the role may not create tables, or the tables are of a newer version.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        let (pool, _) = open(url)?;
        step(async { tables::migrate(&mut Object::take(pool.own().await?)).await }).await
    }

    async fn lease(&self, writes: bool) -> Result<PooledConnection, StoreError> {
        let pool = &self.0.pool;
        let migrated = async || tables::migrate(&mut Object::take(pool.own().await?)).await;
        step(async {
            self.0.migrated.get_or_try_init(migrated).await?;
            pool.lease(writes).await
        })
        .await
    }

    /// Runs a statement, and one that writes nothing once more where no answer came.
    async fn run<T: Send + 'static>(
        &self, writes: bool, statement: impl Fn(StatementConnection) -> PoolAnswer<T>,
    ) -> Result<T, StoreError> {
        let run = async || self.0.pool.run(self.lease(writes).await?, &statement).await;
        let answered = async {
            match run().await {
                Err(error) if !writes && error.kind() == StoreErrorKind::OutcomeUnknown => run().await,
                answer => answer,
            }
        };
        let late = |late| Err(StoreError::outcome_unknown("PostgreSQL did not answer in time", late));
        let answer = timeout(CALL, answered).await.unwrap_or_else(late);
        answer.map_err(|error| if writes { error } else { error.of_a_read() })
    }
}

impl Store for PostgresStore {
    fn load(&self, key: Key) -> StoreFuture<'_, Option<Stored>> {
        Box::pin(async move {
            let row = self.run(false, |to| Box::pin(tables::load(to, key))).await?;
            row.as_ref().map(tables::stored).transpose()
        })
    }

    fn swap(&self, key: Key, expected: Option<Version>, record: Record) -> StoreFuture<'_, Option<Version>> {
        Box::pin(async move {
            let record = Columns::try_from(record)?;
            let row = self.run(true, |to| Box::pin(tables::swap(to, key, expected, record.clone()))).await?;
            let Some(row) = row else { return Ok(None) };
            self.0.news.tell(key);
            columns::to_version(row.get(0)).map(Some)
        })
    }

    fn delete(&self, key: Key, expected: Option<Version>) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let deleted = self.run(true, |to| Box::pin(tables::delete(to, key, expected))).await?;
            if deleted {
                self.0.news.tell(key);
            }
            Ok(deleted)
        })
    }

    fn find(&self, tag: Tag) -> StoreFuture<'_, Vec<Key>> {
        Box::pin(async move {
            let found = self.run(false, |to| Box::pin(tables::find(to, tag))).await?;
            found.iter().map(|row| columns::key(row.get(0))).collect()
        })
    }

    fn delete_expired(&self, older_than: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut deleted = 0;
            loop {
                let batch = self.run(true, |to| Box::pin(tables::delete_expired(to, older_than))).await?;
                deleted += batch.unsigned_abs();
                if batch < tables::BATCH {
                    return Ok(deleted);
                }
            }
        })
    }

    fn wait(&self, key: Key, after: Option<Version>, within: Duration) -> StoreFuture<'_, ()> {
        // Rows are named by hashes: their bytes spread those who look.
        let look = LOOK + Duration::from_millis(u64::from(key.0[0]));
        Box::pin(async move {
            self.0.news.begin();
            self.0.changes.wait(self, key, after, within, move || tokio::time::sleep(look)).await
        })
    }

    fn subscribe<'a>(&'a self, heard: &'a (dyn Fn(Change) + Send + Sync)) -> StoreFuture<'a, ()> {
        Box::pin(self.0.news.relay(heard))
    }
}

opaque!(PostgresStore, |store| connections = store.0.pool.connections.status().size);

/// Reads a URL: where statements go, and where to listen, which behind a pooler is the server itself.
fn open(url: &str) -> Result<(Pool, Option<PostgresServer>), StoreError> {
    let PostgresUrl { config, tls, is_pooler, listen } = url::parse(url)?;
    let place = (config, tls::connector(&tls)?);
    let server = match listen {
        Some(listen) => Some(listen_server(&listen)?),
        None => (!is_pooler).then(|| place.clone()),
    };
    Ok((Pool::new(place, is_pooler, LIMITS)?, server))
}

/// The server itself, at the URL in `listen`.
fn listen_server(url: &str) -> Result<PostgresServer, StoreError> {
    match url::parse(url) {
        Ok(PostgresUrl { config, tls, is_pooler: false, listen: None }) => Ok((config, tls::connector(&tls)?)),
        _ => Err(StoreError::refused("PostgreSQL's listen must be the URL of the server itself, percent-encoded")),
    }
}

/// The error of a statement that was sent.
fn failed(error: Error) -> StoreError {
    const MESSAGE: &str = "PostgreSQL did not do it";
    match error.code().map(SqlState::code) {
        // No answer, or one that ends the connection: the transaction may have been committed before.
        None | Some("40003") => StoreError::outcome_unknown(MESSAGE, error),
        Some(code) if code.starts_with("08") || code.starts_with("57P") => StoreError::outcome_unknown(MESSAGE, error),
        // Data that are no row of ours, rights and tables that are missing, limits of the program.
        Some(code) if ["22", "23", "42", "54"].iter().any(|class| code.starts_with(class)) => {
            StoreError::refused_by(MESSAGE, error)
        }
        Some(_) => StoreError::unavailable(MESSAGE, error),
    }
}
