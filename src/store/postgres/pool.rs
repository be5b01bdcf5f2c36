//! Connections, made when they are needed and replaced when they are dead.

use std::time::Duration;

use deadpool_postgres::{
    Client, ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime,
};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::StoreError;

const CONNECTIONS: usize = 10;
/// Callers wait five seconds for a store: an answer comes before that, if only an error.
const PATIENCE: Duration = Duration::from_secs(3);
/// A connection that was not used for so long is asked first: something on its way may have forgotten it.
const IDLE: Duration = Duration::from_secs(15);

/// A statement that nobody waits for any more ends by itself. One statement is one transaction and sees the latest
/// rows, whatever the database's defaults are.
const SETUP: &str = "SET statement_timeout = 10000; SET default_transaction_isolation = 'read committed'";

pub(super) fn pool(config: Config, tls: MakeRustlsConnect) -> Result<Pool, StoreError> {
    let method = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(Manager::from_config(config, tls, method))
        .max_size(CONNECTIONS)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .runtime(Runtime::Tokio1)
        .post_create(Hook::async_fn(|client: &mut ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SETUP).await.map_err(HookError::Backend) })
        }))
        .pre_recycle(Hook::async_fn(|client: &mut ClientWrapper, metrics| {
            let idle = metrics.last_used() > IDLE;
            Box::pin(async move {
                match idle {
                    true => client.batch_execute("").await.map_err(HookError::Backend),
                    false => Ok(()),
                }
            })
        }))
        .build()
        .map_err(|error| StoreError::refused_by("the pool cannot be set up", error))
}

pub(super) async fn connection(pool: &Pool) -> Result<Client, StoreError> {
    pool.get().await.map_err(|error| StoreError::unavailable("PostgreSQL cannot be reached", error))
}
