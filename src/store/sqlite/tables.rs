//! The tables and their version, and the statements. Each function is one transaction.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, TransactionBehavior, params};

use super::super::columns::{self, Columns, INDEXES, is_current};
use super::super::{Key, StoreError, Stored, Tag, Version};
use super::failed;
use crate::clock::{Clock, Timestamp};

/// Version 1. What is there already stays: a version that is added finds these tables.
const TABLES: &str = include_str!("tables.sql");

/// Creates the tables, or brings them to this version. Any number of processes may do so at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if is_current(version(connection)?)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Read again: somebody else may have been first.
    if !is_current(version(&transaction)?)? {
        transaction.execute_batch(&[TABLES, INDEXES].concat()).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Refuses tables that are not exactly of this version.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let behind = "the file's tables are missing, or of an older version: run `SqliteStore::migrate`";
    if is_current(version(connection)?)? { Ok(()) } else { Err(StoreError::refused(behind)) }
}

fn version(connection: &Connection) -> Result<Option<i32>, StoreError> {
    let ask = |statement: &str| connection.query_row(statement, [], |row| row.get(0)).optional();
    let exists = ask("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tower_oidc_state'");
    match exists.map_err(failed)? {
        None => Ok(None),
        Some(_) => ask("SELECT schema_version FROM tower_oidc_state").map_err(failed),
    }
}

/// How many expired rows go at once: few milliseconds, in which others wait.
pub(super) const BATCH: u32 = 500;

pub(super) fn load(connection: &mut Connection, key: Key) -> Result<Option<Stored>, StoreError> {
    let mut select = prepare(connection, columns::LOAD)?;
    select.query_row([&key.0], |row| Ok(stored(row))).optional().map_err(failed)?.transpose()
}

fn stored(row: &Row<'_>) -> Result<Stored, StoreError> {
    let tag = |column| row.get_ref(column).and_then(|tag| Ok(tag.as_blob_or_null()?)).map_err(failed);
    let (version, expires_at) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
    let tags = [tag(3)?, tag(4)?, tag(5)?, tag(6)?, tag(7)?, tag(8)?];
    columns::stored(version, expires_at, tags, row.get(2).map_err(failed)?)
}

/// Whose writes they are.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) id: i64,
    pub(super) clock: Clock,
}

pub(super) fn swap(
    connection: &mut Connection, writer: &Writer, key: Key, expected: Option<Version>, record: &Columns,
) -> Result<Option<Version>, StoreError> {
    // The lock is taken before anything is read, so that no other process writes in between.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let next: i64 = prepare(&transaction, include_str!("next_version.sql"))?
        .query_row([writer.id, columns::from_timestamp(writer.clock.now())], |row| row.get(0))
        .map_err(failed)?;
    let (contents, expected) = (&record.contents[..], expected.map(columns::from_version));
    let mut values: Vec<&dyn ToSql> = vec![&key.0, &next, &record.expires_at, &contents];
    values.extend(record.tags.iter().map(|tag| tag as &dyn ToSql));
    values.extend(expected.iter().map(|expected| expected as &dyn ToSql));
    let statement = if expected.is_some() { include_str!("change.sql") } else { include_str!("create.sql") };
    if prepare(&transaction, statement)?.execute(&values[..]).map_err(failed)? == 0 {
        return Ok(None);
    }
    transaction.commit().map_err(failed)?;
    columns::to_version(next).map(Some)
}

pub(super) fn delete(connection: &mut Connection, key: Key, expected: Option<Version>) -> Result<bool, StoreError> {
    let parameters = params![key.0, expected.map(columns::from_version)];
    Ok(prepare(connection, columns::DELETE)?.execute(parameters).map_err(failed)? > 0)
}

pub(super) fn find(connection: &mut Connection, tag: Tag) -> Result<Vec<Key>, StoreError> {
    let mut select = prepare(connection, columns::FIND)?;
    let keys = select.query_map([&tag.0], |row| row.get::<_, Vec<u8>>(0)).map_err(failed)?;
    keys.map(|key| columns::key(&key.map_err(failed)?)).collect()
}

/// Deletes a batch of what expired, and returns how many rows that were. Where no other process has written within a
/// minute of `older_than`, by its own clock, that moment may be wrong: then what expired 30 days before it goes.
pub(super) fn delete_expired(
    connection: &mut Connection, writer: &Writer, older_than: Timestamp,
) -> Result<u64, StoreError> {
    let mut delete = prepare(connection, include_str!("delete_expired.sql"))?;
    let deleted = delete.execute(params![columns::from_timestamp(older_than), BATCH, writer.id]).map_err(failed)?;
    Ok(deleted as u64)
}

/// Changes when another connection wrote.
pub(super) fn data_version(connection: &mut Connection) -> Result<i64, StoreError> {
    prepare(connection, "PRAGMA data_version")?.query_row([], |row| row.get(0)).map_err(failed)
}

fn prepare<'a>(connection: &'a Connection, statement: &str) -> Result<CachedStatement<'a>, StoreError> {
    connection.prepare_cached(statement).map_err(failed)
}
