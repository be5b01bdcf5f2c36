//! Connections: made when they are needed, and given up together with an answer that does not come.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, RecyclingMethod};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::{BoxFuture, StoreError};
use super::failed;

const CONNECTIONS: usize = 10;
/// How many of them writes have at once. All of these may wait for a lock: reads go on over the others.
const WRITING: usize = 7;
/// How long it takes at most to have a connection: to wait for one, to check it or to make it.
pub(super) const STEP: Duration = Duration::from_secs(2);
/// How long a connection is checked. The rest of the step makes a new one.
const CHECK: Duration = Duration::from_secs(1);
/// How long a statement waits for its answer. Callers wait five seconds for a store: with the step, it ends before.
const ANSWER: Duration = Duration::from_millis(2750);
/// After how long without use a connection is checked first, because something on its way may have forgotten it, and how
/// old one becomes.
pub(super) type Limits = (Duration, fn(Instant) -> Duration);
pub(super) const LIMITS: Limits = (Duration::from_secs(15), life);

/// One statement is one transaction and sees the latest rows, whatever the database's defaults are. It ends before its
/// caller stops waiting, unless the URL's `options` say otherwise.
const SETUP: &str = include_str!("setup.sql");

/// The settings of one write over a connection that is not ours alone. They end with its transaction.
const BEGIN: &str = include_str!("begin.sql");

/// Connections: a write has one of its own, and reads share theirs. Statements on a connection are sent without waiting for
/// the answers before them, so that a thousand reads at once take a round trip or two and not a hundred.
pub(super) struct Pool {
    pub(super) connections: deadpool_postgres::Pool,
    /// Whether others use the connections to the server, too: nothing of ours may be left there.
    is_shared: bool,
    limits: Limits,
    writing: Arc<Semaphore>,
    reading: Arc<[Mutex<Weak<Client>>; CONNECTIONS - WRITING]>,
    /// Which of them is next.
    next: AtomicUsize,
    /// A connection was lost: those that are idle go before the next one is made.
    suspect: Arc<AtomicBool>,
}

/// How a server, or a pooler, is reached.
pub(super) type PostgresServer = (Config, MakeRustlsConnect);

/// A connection in use, and the leave to write.
pub(super) type PooledConnection = (Arc<Client>, Option<OwnedSemaphorePermit>);

/// A value in a statement.
pub(super) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection for one statement.
pub(super) struct StatementConnection {
    client: Arc<Client>,
    is_shared: bool,
    writes: bool,
}

impl StatementConnection {
    /// The rows that a statement returns.
    pub(super) async fn query(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let client = &self.client;
        if !self.is_shared {
            let values: Vec<_> = values.iter().map(|(value, _)| *value).collect();
            return client.query(&client.prepare_cached(statement).await?, &values).await;
        }
        // Without a name: the next statement may reach another connection.
        let rows = client.query_typed(statement, values);
        if !self.writes {
            return rows.await;
        }
        // Each future sends at its first poll, and the first polls go from left to right. Nobody waits in between.
        let (begun, rows, committed) = tokio::join!(client.batch_execute(BEGIN), rows, client.batch_execute("COMMIT"));
        // After an error COMMIT rolls back, and is answered without one.
        let rows = rows.map_err(|error| begun.err().unwrap_or(error))?;
        committed.map(|()| rows)
    }
}

/// What comes of a statement.
pub(super) type PoolAnswer<T> = BoxFuture<'static, Result<T, Error>>;

/// What comes of one step.
pub(super) async fn step<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |late| Err(StoreError::unavailable("PostgreSQL cannot be reached in time", late));
    timeout(STEP, work).await.unwrap_or_else(late).map_err(StoreError::of_a_read)
}

impl Pool {
    /// The limits are [`LIMITS`], but for tests.
    pub(super) fn new((config, tls): PostgresServer, is_shared: bool, limits: Limits) -> Result<Self, StoreError> {
        let suspect = Arc::new(AtomicBool::new(false));
        let doubt = Arc::clone(&suspect);
        let setup = if is_shared { "" } else { SETUP };
        let method = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let connections = deadpool_postgres::Pool::builder(Manager::from_config(config, tls, method))
            .max_size(CONNECTIONS)
            .post_create(Hook::async_fn(move |client: &mut ClientWrapper, _| {
                Box::pin(async move { client.batch_execute(setup).await.map_err(HookError::Backend) })
            }))
            .pre_recycle(Hook::async_fn(move |client: &mut ClientWrapper, metrics| {
                let doubt = Arc::clone(&doubt);
                Box::pin(async move {
                    if !doubt.load(Relaxed) && metrics.last_used() > limits.0 {
                        let answers = matches!(timeout(CHECK, client.batch_execute("")).await, Ok(Ok(())));
                        doubt.fetch_or(!answers, Relaxed);
                    }
                    match doubt.load(Relaxed) || metrics.age() > limits.1(metrics.created) {
                        true => Err(HookError::message("it is suspect, or old")),
                        false => Ok(()),
                    }
                })
            }))
            .build()
            .map_err(|error| StoreError::refused_by("the pool cannot be set up", error))?;
        Ok(Self { is_shared, suspect, ..Self::over(connections, limits) })
    }

    /// Takes the application's own connections.
    pub(super) fn over(connections: deadpool_postgres::Pool, limits: Limits) -> Self {
        let (writing, reading, next) = (Arc::new(Semaphore::new(WRITING)), Arc::default(), AtomicUsize::new(0));
        Self { connections, is_shared: true, limits, writing, reading, next, suspect: Arc::default() }
    }

    /// A connection that nobody shares.
    pub(super) async fn own(&self) -> Result<Client, StoreError> {
        let client = self.connections.get().await;
        let client = client.map_err(|error| StoreError::unavailable("PostgreSQL cannot be reached", error))?;
        if Object::metrics(&client).recycled.is_none() {
            self.suspect.store(false, Relaxed);
        }
        Ok(client)
    }

    pub(super) async fn lease(&self, writes: bool) -> Result<PooledConnection, StoreError> {
        if writes {
            let writing = Arc::clone(&self.writing).acquire_owned().await.ok();
            return Ok((Arc::new(self.own().await?), writing));
        }
        let mut shared = self.reading[self.next.fetch_add(1, Relaxed) % self.reading.len()].lock().await;
        // A connection that has ended stays until the last answer over it has failed.
        let is_good = |client: &Arc<Client>| {
            let metrics = Object::metrics(client);
            !client.is_closed() && metrics.age() <= self.limits.1(metrics.created)
        };
        if let Some(client) = shared.upgrade().filter(is_good) {
            return Ok((client, None));
        }
        let client = Arc::new(self.own().await?);
        *shared = Arc::downgrade(&client);
        Ok((client, None))
    }

    /// Runs a statement to its end, also where its caller has gone: the connection is free when the answer has come. When
    /// none comes, it is given up.
    pub(super) async fn run<T: Send + 'static>(
        &self, (client, writing): PooledConnection, statement: impl FnOnce(StatementConnection) -> PoolAnswer<T>,
    ) -> Result<T, StoreError> {
        let (suspect, reading) = (Arc::clone(&self.suspect), Arc::clone(&self.reading));
        let (is_shared, writes) = (self.is_shared, writing.is_some());
        let answer = statement(StatementConnection { client: Arc::clone(&client), is_shared, writes });
        let running = tokio::spawn(async move {
            let _writing = writing;
            let heard = match timeout(ANSWER, answer).await {
                Ok(answer) => answer.map_err(|error| (is_lost(&error), failed(error))),
                Err(late) => Err((true, StoreError::outcome_unknown("PostgreSQL did not answer in time", late))),
            };
            if matches!(heard, Err((true, _))) {
                suspect.store(true, Relaxed);
                // What others read over it ends with it, or in its own time. One that is being made is good.
                reading.iter().filter_map(|shared| shared.try_lock().ok()).for_each(|mut shared| *shared = Weak::new());
                Arc::into_inner(client).map(Object::take);
            }
            heard.map_err(|(_, error)| error)
        });
        running.await.unwrap_or_else(|ended| Err(StoreError::outcome_unknown("its task ended", ended)))
    }
}

/// Whether a connection is of no use any more: it ended, its server shuts down, or takes no writes.
fn is_lost(error: &Error) -> bool {
    let code = error.code().map(SqlState::code);
    code.is_none_or(|code| code == "25006" || code.starts_with("57P"))
}

/// How old a connection becomes: half an hour, a fifth more or less. The server's name may lead elsewhere by then.
fn life(created: Instant) -> Duration {
    let drawn = BuildHasherDefault::<DefaultHasher>::default().hash_one(created);
    Duration::from_secs(1440 + drawn % 720)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_postgres::config::SslMode;

    use super::super::tls::connector;
    use super::super::url::Tls;
    use super::*;

    #[test]
    fn connections_that_were_made_together_do_not_end_together() {
        let began = deadpool_postgres::Metrics::default().created;
        let lives: Vec<_> = (0..100).map(|micros| life(began + Duration::from_micros(micros))).collect();
        assert!(lives.iter().all(|life| (1440..2160).contains(&life.as_secs())), "{lives:?}");
        let (first, last) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
        assert!(*last - *first > Duration::from_secs(60), "{lives:?}");
        assert_eq!(life(began), life(began), "it stays the same");
    }
    /// A server that lets everybody in and has an answer to each statement. While it is silent, it has none to an empty one.
    struct Server {
        port: u16,
        made: Arc<AtomicUsize>,
        silent: Arc<AtomicBool>,
    }

    impl Server {
        async fn start() -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = Self { port, made: Arc::default(), silent: Arc::default() };
            let (made, silent) = (Arc::clone(&server.made), Arc::clone(&server.silent));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    made.fetch_add(1, Relaxed);
                    tokio::spawn(serve(stream, Arc::clone(&silent)));
                }
            });
            server
        }

        fn pool(&self, limits: Limits) -> Pool {
            let mut config = Config::new();
            config.host("127.0.0.1").port(self.port).user("x").ssl_mode(SslMode::Disable);
            Pool::new((config, connector(&Tls::Unverified).unwrap()), false, limits).unwrap()
        }

        fn made(&self) -> usize {
            self.made.load(Relaxed)
        }
    }

    async fn serve(mut stream: TcpStream, silent: Arc<AtomicBool>) -> io::Result<()> {
        // The first message has no kind.
        let length = stream.read_u32().await?;
        stream.read_exact(&mut vec![0; length as usize - 4]).await?;
        stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
        loop {
            stream.read_u8().await?;
            let mut statement = vec![0; stream.read_u32().await? as usize - 4];
            stream.read_exact(&mut statement).await?;
            if statement == *b"end\0" {
                return Ok(());
            }
            if statement != [0] || !silent.load(Relaxed) {
                stream.write_all(b"C\0\0\0\x08SET\0Z\0\0\0\x05I").await?;
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_old_is_not_used_again() {
        let at_once: fn(Instant) -> Duration = |_| Duration::ZERO;
        for (life, made) in [(at_once, 3), (life, 1)] {
            let server = Server::start().await;
            let pool = server.pool((LIMITS.0, life));
            for _ in 0..3 {
                drop(pool.lease(false).await.unwrap());
            }
            assert_eq!(server.made(), made);
        }
    }

    #[tokio::test]
    async fn reads_share_connections_and_a_write_has_one_of_its_own() {
        let server = Server::start().await;
        let pool = server.pool(LIMITS);
        let mut reads = Vec::new();
        for _ in 0..100 {
            reads.push(pool.lease(false).await.unwrap().0);
        }
        assert_eq!(server.made(), CONNECTIONS - WRITING);
        let mut writes = Vec::new();
        for _ in 0..WRITING {
            let write = timeout(CHECK, pool.lease(true)).await.expect("reads leave it a connection").unwrap();
            assert!(!reads.iter().any(|read| Arc::ptr_eq(read, &write.0)));
            writes.push(write);
        }
        assert_eq!(server.made(), CONNECTIONS);
        assert!(timeout(CHECK, pool.lease(true)).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_is_lost_or_old_is_not_shared() {
        let server = Server::start().await;
        let pool = server.pool(LIMITS);
        let mut reads = Vec::new();
        for _ in 0..CONNECTIONS - WRITING {
            reads.push(pool.lease(false).await.unwrap().0);
        }
        let end = |connection: StatementConnection| -> PoolAnswer<()> {
            Box::pin(async move { connection.client.batch_execute("end").await })
        };
        assert!(pool.run((Arc::clone(&reads[0]), None), end).await.is_err());
        let next = pool.lease(false).await.unwrap().0;
        assert!(!reads.iter().any(|read| Arc::ptr_eq(read, &next)), "all are suspect");

        // One that ends while others still read over it.
        let ended = pool.lease(false).await.unwrap().0;
        assert!(ended.batch_execute("end").await.is_err());
        for _ in 0..CONNECTIONS - WRITING {
            assert!(!Arc::ptr_eq(&pool.lease(false).await.unwrap().0, &ended));
        }

        let pool = server.pool((LIMITS.0, |_| Duration::ZERO));
        let mut reads: Vec<Arc<Client>> = Vec::new();
        for _ in 0..CONNECTIONS {
            let read = pool.lease(false).await.unwrap().0;
            assert!(!reads.iter().any(|other| Arc::ptr_eq(other, &read)), "each is old at once");
            reads.push(read);
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_idle_is_asked_first_and_one_that_is_silent_tells_of_all() {
        let server = Server::start().await;
        let pool = server.pool((Duration::ZERO, life));
        let both = (pool.lease(false).await.unwrap(), pool.lease(false).await.unwrap());
        drop(both);
        drop(pool.lease(false).await.unwrap());
        assert_eq!(server.made(), 2, "it answers");
        server.silent.store(true, Relaxed);
        let third = timeout(STEP, pool.lease(false)).await.expect("the check ends").unwrap();
        assert_eq!((server.made(), pool.connections.status().size), (3, 1), "both are given up");
        server.silent.store(false, Relaxed);
        drop(third);
        drop(pool.lease(false).await.unwrap());
        assert_eq!(server.made(), 3);
        // One that was used a moment ago is not asked.
        server.silent.store(true, Relaxed);
        let pool = server.pool(LIMITS);
        for _ in 0..2 {
            drop(pool.lease(false).await.unwrap());
        }
        assert_eq!(server.made(), 4);
    }
}
