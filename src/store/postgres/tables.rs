//! The tables and their version, and the statements. Each is a transaction of its own.

use std::sync::Arc;

use deadpool_postgres::{Client, ClientWrapper};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, GenericClient, Row};

use super::super::columns::{self, Columns, INDEXES, is_current};
use super::super::{Key, StoreError, Stored, Tag, Version};
use super::failed;
use crate::clock::Timestamp;

/// Version 1. What is there already stays: a version that is added finds these tables.
const TABLES: &str = include_str!("tables.sql");

/// `IF NOT EXISTS` is no protection from somebody who creates the same at the same time; this lock is. Its number is the
/// beginning of this crate's name. A process that stands still half-way keeps nobody waiting for long.
const LOCK: &str = include_str!("lock.sql");

/// Creates the tables, or brings them to this version. Any number of processes may do so at once.
pub(super) async fn migrate(client: &mut ClientWrapper) -> Result<(), StoreError> {
    if is_current(version(&**client).await?)? {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(LOCK).await.map_err(failed)?;
    // Read again: somebody else may have been first.
    if !is_current(version(&*transaction).await?)? {
        transaction.batch_execute(&[TABLES, INDEXES].concat()).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

/// Refuses tables that are not exactly of this version.
pub(super) async fn check(client: &ClientWrapper) -> Result<(), StoreError> {
    let behind = "the database's tables are missing, or of an older version: run `PostgresStore::migrate`";
    if is_current(version(&**client).await?)? { Ok(()) } else { Err(StoreError::refused(behind)) }
}

async fn version(client: &impl GenericClient) -> Result<Option<i32>, StoreError> {
    let exists = client.query_one("SELECT to_regclass('tower_oidc_state') IS NOT NULL", &[]).await;
    if !exists.map_err(failed)?.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_opt("SELECT schema_version FROM tower_oidc_state", &[]).await.map_err(failed)?;
    Ok(row.map(|row| row.get(0)))
}

/// How many expired rows go at once: few milliseconds each.
pub(super) const BATCH: i64 = 1000;

const CREATE: &str = include_str!("create.sql");

const CHANGE: &str = include_str!("change.sql");

/// What has expired by the caller's clock and by the server's. Rows that somebody else is changing or collecting are
/// left to them.
const DELETE_EXPIRED: &str = include_str!("delete_expired.sql");

pub(super) async fn load(client: Arc<Client>, key: Key) -> Result<Option<Row>, Error> {
    client.query_opt(&client.prepare_cached(columns::LOAD).await?, &[&&key.0[..]]).await
}

pub(super) fn stored(row: &Row) -> Result<Stored, StoreError> {
    let tags = std::array::from_fn(|tag| row.get(3 + tag));
    columns::stored(row.get(0), row.get(1), tags, row.get(2))
}

pub(super) async fn swap(
    client: Arc<Client>, key: Key, expected: Option<Version>, record: Columns,
) -> Result<Option<Row>, Error> {
    let tags = record.tags.each_ref().map(|tag| tag.as_ref().map(|tag| &tag[..]));
    let (key_bytes, contents) = (&key.0[..], &record.contents[..]);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&key_bytes, &record.expires_at, &contents];
    values.extend(tags.iter().map(|tag| tag as &(dyn ToSql + Sync)));
    let expected = expected.map(columns::from_version);
    values.extend(expected.iter().map(|expected| expected as &(dyn ToSql + Sync)));
    let statement = client.prepare_cached(if expected.is_some() { CHANGE } else { CREATE }).await?;
    client.query_opt(&statement, &values).await
}

pub(super) async fn delete(client: Arc<Client>, key: Key, expected: Option<Version>) -> Result<bool, Error> {
    let expected = expected.map(columns::from_version);
    let statement = client.prepare_cached(columns::DELETE).await?;
    Ok(client.execute(&statement, &[&&key.0[..], &expected]).await? > 0)
}

pub(super) async fn find(client: Arc<Client>, tag: Tag) -> Result<Vec<Row>, Error> {
    client.query(&client.prepare_cached(columns::FIND).await?, &[&&tag.0[..]]).await
}

/// Deletes a batch of what expired, and returns how many rows that were.
pub(super) async fn delete_expired(client: Arc<Client>, older_than: Timestamp) -> Result<u64, Error> {
    let statement = client.prepare_cached(DELETE_EXPIRED).await?;
    client.execute(&statement, &[&columns::from_timestamp(older_than), &BATCH]).await
}
