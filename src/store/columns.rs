//! How a record lies in the columns of a table.

use bytes::Bytes;

use super::{Key, Record, StoreError, Stored, Tag, Version};
use crate::ambient::Timestamp;

/// A record on its way into a row.
#[derive(Clone)]
pub(super) struct Columns {
    pub(super) expires_at: i64,
    pub(super) tags: [Option<[u8; 32]>; 2],
    pub(super) contents: Bytes,
}

impl TryFrom<Record> for Columns {
    type Error = StoreError;

    fn try_from(record: Record) -> Result<Self, StoreError> {
        let mut tags = record.tags.iter().map(|tag| tag.0);
        let columns = [tags.next(), tags.next()];
        if tags.next().is_some() {
            return Err(StoreError::refused("a record has two tags at most"));
        }
        Ok(Self { expires_at: from_timestamp(record.expires_at), tags: columns, contents: record.bytes })
    }
}

/// A row on its way out: what is not as it was written is an error, never a guess.
pub(super) fn stored(
    version: i64,
    expires_at: i64,
    tags: [Option<&[u8]>; 2],
    contents: Vec<u8>,
) -> Result<Stored, StoreError> {
    let damaged = || StoreError::refused("a row is not as this store writes it");
    let tags = tags.into_iter().flatten().map(|tag| tag.try_into().map(Tag).map_err(|_| damaged()));
    let record = Record {
        bytes: contents.into(),
        expires_at: to_timestamp(expires_at).ok_or_else(damaged)?,
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

/// Milliseconds since the epoch. The largest number stands for the end of time.
pub(super) fn from_timestamp(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

fn to_timestamp(millis: i64) -> Option<Timestamp> {
    let millis = if millis == i64::MAX { u64::MAX } else { u64::try_from(millis).ok()? };
    Some(Timestamp::from_millis(millis))
}
