//! The tables and their version, and the statements. Each is a transaction of its own.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient, Row};

use super::super::columns::{self, Columns, INDEXES, is_current};
use super::super::{Key, StoreError, Stored, Tag, Version};
use super::failed;
use super::pool::{StatementConnection, Value};
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
    let exists = client.query_typed("SELECT to_regclass('tower_oidc_state') IS NOT NULL", &[]).await;
    if !exists.map_err(failed)?.iter().all(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = client.query_typed("SELECT schema_version FROM tower_oidc_state", &[]).await.map_err(failed)?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// How many expired rows go at once: few milliseconds each.
pub(super) const BATCH: i64 = 1000;

const CREATE: &str = include_str!("create.sql");

const CHANGE: &str = include_str!("change.sql");

/// What has expired by the caller's clock and by the server's. Rows that somebody else is changing or collecting are
/// left to them.
const DELETE_EXPIRED: &str = include_str!("delete_expired.sql");

pub(super) async fn load(to: StatementConnection, key: Key) -> Result<Option<Row>, Error> {
    Ok(to.query(columns::LOAD, &[(&&key.0[..], Type::BYTEA)]).await?.pop())
}

pub(super) fn stored(row: &Row) -> Result<Stored, StoreError> {
    let tags = std::array::from_fn(|tag| row.get(3 + tag));
    columns::stored(row.get(0), row.get(1), tags, row.get(2))
}

pub(super) async fn swap(
    to: StatementConnection, key: Key, expected: Option<Version>, record: Columns,
) -> Result<Option<Row>, Error> {
    let tags = record.tags.each_ref().map(|tag| tag.as_ref().map(|tag| &tag[..]));
    let (key_bytes, contents) = (&key.0[..], &record.contents[..]);
    let mut values: Vec<Value<'_>> =
        vec![(&key_bytes, Type::BYTEA), (&record.expires_at, Type::INT8), (&contents, Type::BYTEA)];
    values.extend(tags.iter().map(|tag| (tag as _, Type::BYTEA)));
    let expected = expected.map(columns::from_version);
    values.extend(expected.iter().map(|expected| (expected as _, Type::INT8)));
    let statement = if expected.is_some() { CHANGE } else { CREATE };
    Ok(to.query(statement, &values).await?.pop())
}

pub(super) async fn delete(to: StatementConnection, key: Key, expected: Option<Version>) -> Result<bool, Error> {
    let expected = expected.map(columns::from_version);
    let statement = [columns::DELETE, " RETURNING key"].concat();
    let values: [Value<'_>; 2] = [(&&key.0[..], Type::BYTEA), (&expected, Type::INT8)];
    Ok(!to.query(&statement, &values).await?.is_empty())
}

pub(super) async fn find(to: StatementConnection, tag: Tag) -> Result<Vec<Row>, Error> {
    to.query(columns::FIND, &[(&&tag.0[..], Type::BYTEA)]).await
}

/// Deletes a batch of what expired, and returns how many rows that were.
pub(super) async fn delete_expired(to: StatementConnection, older_than: Timestamp) -> Result<i64, Error> {
    let older_than = columns::from_timestamp(older_than);
    let deleted = to.query(DELETE_EXPIRED, &[(&older_than, Type::INT8), (&BATCH, Type::INT8)]).await?;
    Ok(deleted.first().map_or(0, |row| row.get(0)))
}
