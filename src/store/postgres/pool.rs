//! Connections: made when they are needed, and given up together with an answer that does not come.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Client, ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, RecyclingMethod,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error};
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
/// A connection that was not used for so long is checked first: something on its way may have forgotten it.
const IDLE: Duration = Duration::from_secs(15);

/// One statement is one transaction and sees the latest rows, whatever the database's defaults are. It ends before its
/// caller stops waiting, unless the URL's `options` say otherwise.
const SETUP: &str = "
    SET default_transaction_isolation = 'read committed';
    SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN '2000' ELSE '2500' END, false)
    FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout') AND source <> 'client'";

/// Connections, and the part of them that writes may have.
pub(super) struct Pool {
    pub(super) connections: deadpool_postgres::Pool,
    writing: Arc<Semaphore>,
    /// A connection was lost: those that are idle go before the next one is made.
    suspect: Arc<AtomicBool>,
}

/// A connection in use, and the leave to write.
pub(super) type Lease = (Client, Option<OwnedSemaphorePermit>);

/// What comes of a statement.
pub(super) type Answer<T> = BoxFuture<'static, Result<T, Error>>;

/// What comes of one step.
pub(super) async fn step<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |late| Err(StoreError::unavailable("PostgreSQL cannot be reached in time", late));
    timeout(STEP, work).await.unwrap_or_else(late).map_err(StoreError::of_a_read)
}

impl Pool {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect) -> Result<Self, StoreError> {
        let suspect = Arc::new(AtomicBool::new(false));
        let doubt = Arc::clone(&suspect);
        let method = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let connections = deadpool_postgres::Pool::builder(Manager::from_config(config, tls, method))
            .max_size(CONNECTIONS)
            .post_create(Hook::async_fn(|client: &mut ClientWrapper, _| {
                Box::pin(async move { client.batch_execute(SETUP).await.map_err(HookError::Backend) })
            }))
            .pre_recycle(Hook::async_fn(move |client: &mut ClientWrapper, metrics| {
                let doubt = Arc::clone(&doubt);
                Box::pin(async move {
                    if !doubt.load(Relaxed) && metrics.last_used() > IDLE {
                        let answers = matches!(timeout(CHECK, client.batch_execute("")).await, Ok(Ok(())));
                        doubt.fetch_or(!answers, Relaxed);
                    }
                    match doubt.load(Relaxed) || metrics.age() > life(metrics.created) {
                        true => Err(HookError::message("it is suspect, or old")),
                        false => Ok(()),
                    }
                })
            }))
            .build()
            .map_err(|error| StoreError::refused_by("the pool cannot be set up", error))?;
        Ok(Self { connections, writing: Arc::new(Semaphore::new(WRITING)), suspect })
    }

    pub(super) async fn lease(&self, writes: bool) -> Result<Lease, StoreError> {
        let writing = if writes { Arc::clone(&self.writing).acquire_owned().await.ok() } else { None };
        let client = self.connections.get().await;
        let client =
            client.map_err(|error| StoreError::unavailable("PostgreSQL cannot be reached", error))?;
        if Object::metrics(&client).recycled.is_none() {
            self.suspect.store(false, Relaxed);
        }
        Ok((client, writing))
    }

    /// Runs a statement to its end, also where its caller has gone: the connection is free when the answer has come. When
    /// none comes, it is given up.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        (client, writing): Lease,
        statement: impl FnOnce(Arc<Client>) -> Answer<T>,
    ) -> Result<T, StoreError> {
        let (client, suspect) = (Arc::new(client), Arc::clone(&self.suspect));
        let answer = statement(Arc::clone(&client));
        let running = tokio::spawn(async move {
            let _writing = writing;
            let heard = match timeout(ANSWER, answer).await {
                Ok(answer) => answer.map_err(|error| (is_lost(&error), failed(error))),
                Err(late) => {
                    Err((true, StoreError::outcome_unknown("PostgreSQL did not answer in time", late)))
                }
            };
            if matches!(heard, Err((true, _)))
                && let Some(client) = Arc::into_inner(client)
            {
                suspect.store(true, Relaxed);
                drop(Object::take(client));
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
}
