//! The tables and their versions.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::GenericClient;

use super::super::StoreError;
use super::super::columns::INDEXES;
use super::failed;

/// Each brings the tables one version further, and may find its work done.
const STEPS: [[&str; 2]; 1] = [[
    "
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
",
    INDEXES,
]];

const VERSION: usize = STEPS.len();

/// Creates the tables, or brings them to this version. Any number of processes may do so at once.
pub(super) async fn migrate(client: &mut ClientWrapper) -> Result<(), StoreError> {
    if version(&**client).await? == Some(VERSION) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    // `IF NOT EXISTS` is no protection from somebody who creates the same at the same time; this lock is. Its number
    // is the beginning of this crate's name. A process that stands still half-way keeps nobody waiting for long.
    let state = "
        SET LOCAL idle_in_transaction_session_timeout = '5s';
        SELECT pg_advisory_xact_lock(x'746f7765726f6964'::bigint);
        CREATE TABLE IF NOT EXISTS tower_oidc_state (
            id integer PRIMARY KEY CHECK (id = 1),
            schema_version integer NOT NULL
        );
        INSERT INTO tower_oidc_state VALUES (1, 0) ON CONFLICT DO NOTHING;
    ";
    transaction.batch_execute(state).await.map_err(failed)?;
    // Read again: somebody else may have been first.
    let steps = STEPS.get(version(&*transaction).await?.unwrap_or(0)..).ok_or_else(newer)?;
    for step in steps.iter().flatten() {
        transaction.batch_execute(step).await.map_err(failed)?;
    }
    let done = format!("UPDATE tower_oidc_state SET schema_version = {VERSION}");
    transaction.batch_execute(&done).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Refuses tables that are not exactly of this version.
pub(super) async fn check(client: &ClientWrapper) -> Result<(), StoreError> {
    match version(&**client).await? {
        Some(VERSION) => Ok(()),
        None => {
            Err(StoreError::refused("the database has no tables of tower-oidc: run `PostgresStore::migrate`"))
        }
        Some(0..VERSION) => Err(StoreError::refused(
            "the database's tables are of an older version: run `PostgresStore::migrate`",
        )),
        Some(_) => Err(newer()),
    }
}

fn newer() -> StoreError {
    StoreError::refused("the database's tables are of a newer version of tower-oidc than this one: update it")
}

async fn version(client: &impl GenericClient) -> Result<Option<usize>, StoreError> {
    let exists = client.query_one("SELECT to_regclass('tower_oidc_state') IS NOT NULL", &[]).await;
    if !exists.map_err(failed)?.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_opt("SELECT schema_version FROM tower_oidc_state", &[]).await.map_err(failed)?;
    let version = row.map(|row| usize::try_from(row.get::<_, i32>(0))).transpose();
    version.map_err(|negative| StoreError::refused_by("the database's tables have no version", negative))
}
