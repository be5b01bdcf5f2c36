//! The tables and their version.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::GenericClient;

use super::super::StoreError;
use super::super::columns::{INDEXES, is_current};
use super::failed;

/// Version 1. What is there already stays: a version that is added finds these tables.
const TABLES: &str = "
    CREATE SEQUENCE IF NOT EXISTS tower_oidc_versions;
    CREATE TABLE IF NOT EXISTS tower_oidc_records (
        key bytea PRIMARY KEY,
        version bigint NOT NULL,
        expires_at bigint NOT NULL,
        tag1 bytea, tag2 bytea, tag3 bytea, tag4 bytea, tag5 bytea, tag6 bytea,
        contents bytea NOT NULL
    );
    -- What is sealed cannot be compressed.
    ALTER TABLE tower_oidc_records ALTER COLUMN contents SET STORAGE EXTERNAL;
    CREATE TABLE IF NOT EXISTS tower_oidc_state (
        id integer PRIMARY KEY CHECK (id = 1),
        schema_version integer NOT NULL
    );
    INSERT INTO tower_oidc_state VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET schema_version = 1;
";

/// `IF NOT EXISTS` is no protection from somebody who creates the same at the same time; this lock is. Its number is the
/// beginning of this crate's name. A process that stands still half-way keeps nobody waiting for long.
const LOCK: &str = "
    SET LOCAL idle_in_transaction_session_timeout = '5s';
    SELECT pg_advisory_xact_lock(x'746f7765726f6964'::bigint);
";

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
