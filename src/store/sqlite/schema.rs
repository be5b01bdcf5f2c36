//! The tables and their versions.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::super::StoreError;
use super::super::columns::INDEXES;
use super::failed;

/// Each brings the tables one version further, and may find its work done.
const STEPS: [[&str; 2]; 1] = [[
    "
    CREATE TABLE IF NOT EXISTS tower_oidc_records (
        key BLOB NOT NULL PRIMARY KEY,
        version INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        tag1 BLOB, tag2 BLOB, tag3 BLOB, tag4 BLOB, tag5 BLOB, tag6 BLOB,
        contents BLOB NOT NULL
    ) STRICT;
",
    INDEXES,
]];

const VERSION: u32 = STEPS.len() as u32;

/// Creates the tables, or brings them to this version. Any number of processes may do so at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if version(connection)? == Some(VERSION) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // One row that outlives every record: a version is never given twice.
    let state = "
        CREATE TABLE IF NOT EXISTS tower_oidc_state (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            schema_version INTEGER NOT NULL,
            last_version INTEGER NOT NULL,
            last_writer INTEGER NOT NULL,
            last_written_at INTEGER NOT NULL,
            previous_written_at INTEGER NOT NULL
        ) STRICT;
        INSERT INTO tower_oidc_state VALUES (1, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING;
    ";
    transaction.execute_batch(state).map_err(failed)?;
    // Read again: somebody else may have been first.
    let steps = STEPS.get(version(&transaction)?.unwrap_or(0) as usize..).ok_or_else(newer)?;
    for step in steps.iter().flatten() {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.execute("UPDATE tower_oidc_state SET schema_version = ?1", [VERSION]).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Refuses tables that are not exactly of this version.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    match version(connection)? {
        Some(VERSION) => Ok(()),
        None => Err(StoreError::refused("the file has no tables of tower-oidc: run `SqliteStore::migrate`")),
        Some(0..VERSION) => {
            Err(StoreError::refused("the file's tables are of an older version: run `SqliteStore::migrate`"))
        }
        Some(_) => Err(newer()),
    }
}

fn newer() -> StoreError {
    StoreError::refused("the file's tables are of a newer version of tower-oidc than this one: update it")
}

fn version(connection: &Connection) -> Result<Option<u32>, StoreError> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tower_oidc_state'";
    if connection.query_row(exists, [], |_| Ok(())).optional().map_err(failed)?.is_none() {
        return Ok(None);
    }
    connection
        .query_row("SELECT schema_version FROM tower_oidc_state", [], |row| row.get(0))
        .optional()
        .map_err(failed)
}
