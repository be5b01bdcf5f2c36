//! How a record lies in the columns of a table.

use bytes::Bytes;

use super::{Key, MAX_TAGS, Record, StoreError, Stored, Tag, Version};
use crate::clock::Timestamp;

/// The statements that are the same in each database. (SQLite numbers parameters in the order in which they come.)
pub(super) const LOAD: &str = include_str!("load.sql");

pub(super) const DELETE: &str =
    "DELETE FROM tower_oidc_records WHERE key = $1 AND (CAST($2 AS bigint) IS NULL OR version = $2)";

pub(super) const FIND: &str = include_str!("find.sql");

/// The version of the tables.
const SCHEMA: i32 = 1;

pub(super) const INDEXES: &str = include_str!("indexes.sql");

/// Whether tables of this version were found. Those of a newer one are not for this program.
pub(super) fn is_current(found: Option<i32>) -> Result<bool, StoreError> {
    let newer = "its tables are of a newer version of tower-oidc than this one: update it";
    if found > Some(SCHEMA) { Err(StoreError::refused(newer)) } else { Ok(found == Some(SCHEMA)) }
}

/// A record on its way into a row.
#[derive(Clone)]
pub(super) struct Columns {
    pub(super) expires_at: i64,
    pub(super) tags: [Option<[u8; 32]>; MAX_TAGS],
    pub(super) contents: Bytes,
}

impl TryFrom<Record> for Columns {
    type Error = StoreError;

    fn try_from(record: Record) -> Result<Self, StoreError> {
        record.check()?;
        let tags = std::array::from_fn(|column| record.tags.get(column).map(|tag| tag.0));
        Ok(Self { expires_at: from_timestamp(record.expires_at), tags, contents: record.bytes })
    }
}

/// A row on its way out: what is not as it was written is an error, never a guess.
pub(super) fn stored(
    version: i64, expires_at: i64, tags: [Option<&[u8]>; MAX_TAGS], contents: Vec<u8>,
) -> Result<Stored, StoreError> {
    let damaged = || StoreError::refused("a row is not as this store writes it");
    let tags = tags.into_iter().flatten().map(|tag| tag.try_into().map(Tag).map_err(|_| damaged()));
    let record = Record {
        bytes: contents.into(),
        expires_at: u64::try_from(expires_at).map(Timestamp::from_millis).map_err(|_| damaged())?,
        tags: tags.collect::<Result<_, _>>()?,
    };
    Ok(Stored { version: to_version(version)?, record })
}

pub(super) fn key(bytes: &[u8]) -> Result<Key, StoreError> {
    bytes.try_into().map(Key).map_err(|_| StoreError::refused("a key is not as this store writes it"))
}

pub(super) fn to_version(version: i64) -> Result<Version, StoreError> {
    let version = u64::try_from(version);
    version.map(Version).map_err(|_| StoreError::refused("a version is not as this store writes it"))
}

/// A version that no store gave is no row's.
pub(super) fn from_version(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(-1)
}

/// Milliseconds since the epoch. What is later than the column can say lasts as long as it can say.
pub(super) fn from_timestamp(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tags: usize, millis: u64) -> Record {
        let tags = (0..tags).map(|tag| Tag([tag as u8; 32])).collect();
        Record { bytes: Bytes::from_static(b"x"), expires_at: Timestamp::from_millis(millis), tags }
    }

    #[test]
    fn what_went_in_comes_out() {
        let latest = i64::MAX.unsigned_abs();
        for (tags, millis) in [(0, 0), (1, 1_790_000_000_123), (MAX_TAGS, latest)] {
            let columns = Columns::try_from(record(tags, millis)).unwrap();
            let tags_out = columns.tags.each_ref().map(|tag| tag.as_ref().map(|tag| &tag[..]));
            let out = stored(7, columns.expires_at, tags_out, columns.contents.to_vec()).unwrap();
            assert_eq!((out.version, out.record), (Version(7), record(tags, millis)));
        }
        assert_eq!(Columns::try_from(record(0, u64::MAX)).unwrap().expires_at, i64::MAX, "never earlier");
        assert!(Columns::try_from(record(MAX_TAGS + 1, 0)).is_err(), "there are six columns");
        assert_eq!(from_version(Version(u64::MAX)), -1, "no row's");
    }
}
