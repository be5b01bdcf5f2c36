//! A record as one string of bytes, and back.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::store::{Record, StoreError, Stored, Tag, Version};

const VERSION: usize = 8;
const TAG: usize = 32;
/// Version, expiry, and the number of tags.
const HEAD: usize = VERSION + 8 + 1;

pub(super) fn pack(version: Version, record: &Record) -> Result<Vec<u8>, StoreError> {
    let count = u8::try_from(record.tags.len()).map_err(|_| StoreError::refused("too many tags"))?;
    let (version, expires_at) = (version.0.to_be_bytes(), record.expires_at.as_millis().to_be_bytes());
    let tags: Vec<u8> = record.tags.iter().flat_map(|tag| tag.0).collect();
    Ok([&version[..], &expires_at, &[count], &tags, &record.bytes].concat())
}

/// `None` for what no store of ours wrote. The scripts see the same: such a row is absent, and is written over.
pub(super) fn unpack(packed: Vec<u8>) -> Option<Stored> {
    let packed = Bytes::from(packed);
    let (version, rest) = packed.split_first_chunk::<8>()?;
    let (expires_at, rest) = rest.split_first_chunk::<8>()?;
    let (tags, rest) = rest.split_first()?;
    let (tags, _) = rest.split_at_checked(TAG * usize::from(*tags))?;
    let record = Record {
        bytes: packed.slice(HEAD + tags.len()..),
        expires_at: Timestamp::from_millis(u64::from_be_bytes(*expires_at)),
        tags: tags.as_chunks::<TAG>().0.iter().map(|tag| Tag(*tag)).collect(),
    };
    Some(Stored { version: Version(u64::from_be_bytes(*version)), record })
}

/// The version that a script compares with: empty where there is none.
pub(super) fn expected(version: Option<Version>) -> Vec<u8> {
    version.map(|version| version.0.to_be_bytes().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks() {
        for tags in [vec![], vec![Tag([1; 32])], vec![Tag([1; 32]), Tag([2; 32])]] {
            for bytes in [&b""[..], b"sealed"] {
                let expires_at = Timestamp::from_millis(4_000_000_000_123);
                let record = Record { bytes: Bytes::copy_from_slice(bytes), expires_at, tags: tags.clone() };
                let packed = pack(Version(u64::MAX - 7), &record).unwrap();
                assert_eq!(unpack(packed), Some(Stored { version: Version(u64::MAX - 7), record }));
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_no_record() {
        let record =
            Record { bytes: Bytes::new(), expires_at: Timestamp::from_secs(1), tags: vec![Tag([1; 32]), Tag([2; 32])] };
        let packed = pack(Version(1), &record).unwrap();
        for length in 0..packed.len() {
            assert_eq!(unpack(packed[..length].to_vec()), None, "{length} bytes");
        }
        assert!(unpack(packed).is_some());
    }
}
