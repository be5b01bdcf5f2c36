//! The statements. Each is a transaction of its own.

use std::sync::Arc;

use deadpool_postgres::Client;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::super::columns::{self, Columns};
use super::super::{Key, StoreError, Stored, Tag, Version};
use crate::clock::Timestamp;

/// How many expired rows go at once: few milliseconds each.
pub(super) const BATCH: i64 = 1000;

const CREATE: &str = "
    INSERT INTO tower_oidc_records (key, version, expires_at, contents, tag1, tag2, tag3, tag4, tag5, tag6)
    VALUES ($1, nextval('tower_oidc_versions'), $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (key) DO NOTHING RETURNING version";

const CHANGE: &str = "
    UPDATE tower_oidc_records SET version = nextval('tower_oidc_versions'),
        expires_at = $2, contents = $3, tag1 = $4, tag2 = $5, tag3 = $6, tag4 = $7, tag5 = $8, tag6 = $9
    WHERE key = $1 AND version = $10 RETURNING version";

/// What has expired by the caller's clock and by the server's. Rows that somebody else is changing or collecting are
/// left to them.
const DELETE_EXPIRED: &str = "
    DELETE FROM tower_oidc_records WHERE key IN (
        SELECT key FROM tower_oidc_records
        WHERE expires_at <= least($1, floor(extract(epoch FROM now()) * 1000)::bigint)
        LIMIT $2 FOR UPDATE SKIP LOCKED
    )";

pub(super) async fn load(client: Arc<Client>, key: Key) -> Result<Option<Row>, Error> {
    client.query_opt(&client.prepare_cached(columns::LOAD).await?, &[&&key.0[..]]).await
}

pub(super) fn stored(row: &Row) -> Result<Stored, StoreError> {
    let tags = std::array::from_fn(|tag| row.get(3 + tag));
    columns::stored(row.get(0), row.get(1), tags, row.get(2))
}

pub(super) async fn swap(
    client: Arc<Client>,
    key: Key,
    expected: Option<Version>,
    record: Columns,
) -> Result<Option<Row>, Error> {
    let tags = record.tags.each_ref().map(|tag| tag.as_ref().map(|tag| &tag[..]));
    let (key_bytes, contents) = (&key.0[..], &record.contents[..]);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&key_bytes, &record.expires_at, &contents];
    values.extend(tags.iter().map(|tag| tag as &(dyn ToSql + Sync)));
    match expected.map(columns::from_version) {
        None => client.query_opt(&client.prepare_cached(CREATE).await?, &values).await,
        Some(expected) => {
            values.push(&expected);
            client.query_opt(&client.prepare_cached(CHANGE).await?, &values).await
        }
    }
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
