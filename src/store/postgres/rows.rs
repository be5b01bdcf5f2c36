//! The statements. Each is a transaction of its own.

use deadpool_postgres::Client;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::super::columns::{self, Columns};
use super::super::{Key, StoreError, Stored, Tag, Version};
use crate::ambient::Timestamp;

/// How many expired rows go at once: few milliseconds each.
pub(super) const BATCH: i64 = 1000;

const LOAD: &str = "SELECT version, expires_at, tag1, tag2, contents FROM tower_oidc_records WHERE key = $1";

const CREATE: &str = "
    INSERT INTO tower_oidc_records (key, version, expires_at, tag1, tag2, contents)
    VALUES ($1, nextval('tower_oidc_versions'), $2, $3, $4, $5)
    ON CONFLICT (key) DO NOTHING RETURNING version";

const CHANGE: &str = "
    UPDATE tower_oidc_records SET version = nextval('tower_oidc_versions'),
        expires_at = $2, tag1 = $3, tag2 = $4, contents = $5
    WHERE key = $1 AND version = $6 RETURNING version";

const DELETE: &str = "DELETE FROM tower_oidc_records WHERE key = $1 AND ($2::bigint IS NULL OR version = $2)";

const FIND: &str = "
    SELECT key FROM tower_oidc_records WHERE tag1 = $1
    UNION SELECT key FROM tower_oidc_records WHERE tag2 = $1";

/// Rows that somebody else is changing or collecting are left to them.
const DELETE_EXPIRED: &str = "
    DELETE FROM tower_oidc_records WHERE key IN (
        SELECT key FROM tower_oidc_records WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
    )";

pub(super) async fn load(client: Client, key: Key) -> Result<Option<Row>, Error> {
    client.query_opt(&client.prepare_cached(LOAD).await?, &[&&key.0[..]]).await
}

pub(super) fn stored(row: &Row) -> Result<Stored, StoreError> {
    columns::stored(row.get(0), row.get(1), [row.get(2), row.get(3)], row.get(4))
}

pub(super) async fn swap(
    client: &Client,
    key: Key,
    expected: Option<Version>,
    record: &Columns,
) -> Result<Option<Row>, Error> {
    let [tag1, tag2] = record.tags.each_ref().map(|tag| tag.as_ref().map(|tag| &tag[..]));
    let (key_bytes, contents) = (&key.0[..], &record.contents[..]);
    let created: [&(dyn ToSql + Sync); 5] = [&key_bytes, &record.expires_at, &tag1, &tag2, &contents];
    match expected.map(columns::from_version) {
        None => client.query_opt(&client.prepare_cached(CREATE).await?, &created).await,
        Some(expected) => {
            let [key, expires_at, tag1, tag2, contents] = created;
            let changed = [key, expires_at, tag1, tag2, contents, &expected];
            client.query_opt(&client.prepare_cached(CHANGE).await?, &changed).await
        }
    }
}

pub(super) async fn delete(client: &Client, key: Key, expected: Option<Version>) -> Result<bool, Error> {
    let expected = expected.map(columns::from_version);
    let statement = client.prepare_cached(DELETE).await?;
    Ok(client.execute(&statement, &[&&key.0[..], &expected]).await? > 0)
}

pub(super) async fn find(client: Client, tag: Tag) -> Result<Vec<Row>, Error> {
    client.query(&client.prepare_cached(FIND).await?, &[&&tag.0[..]]).await
}

/// Deletes a batch of what expired, and returns how many rows that were.
pub(super) async fn delete_expired(client: &Client, now: Timestamp) -> Result<u64, Error> {
    let statement = client.prepare_cached(DELETE_EXPIRED).await?;
    client.execute(&statement, &[&columns::from_timestamp(now), &BATCH]).await
}
