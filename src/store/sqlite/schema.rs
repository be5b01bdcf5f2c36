//! The tables and their version.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::super::StoreError;
use super::super::columns::{INDEXES, is_current};
use super::failed;

/// Version 1. What is there already stays: a version that is added finds these tables.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS tower_oidc_records (
        key BLOB NOT NULL PRIMARY KEY,
        version INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        tag1 BLOB, tag2 BLOB, tag3 BLOB, tag4 BLOB, tag5 BLOB, tag6 BLOB,
        contents BLOB NOT NULL
    ) STRICT;
    -- One row that outlives every record: a version is never given twice.
    CREATE TABLE IF NOT EXISTS tower_oidc_state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        schema_version INTEGER NOT NULL,
        last_version INTEGER NOT NULL,
        last_writer INTEGER NOT NULL,
        last_written_at INTEGER NOT NULL,
        previous_written_at INTEGER NOT NULL
    ) STRICT;
    INSERT INTO tower_oidc_state VALUES (1, 1, 0, 0, 0, 0) ON CONFLICT (id) DO UPDATE SET schema_version = 1;
";

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
