//! The writes, as Lua: each runs in one piece, whoever else writes.

use std::sync::LazyLock;

/// A script, and the name under which the server knows it once it has seen it.
pub(super) struct Script {
    pub(super) source: String,
    pub(super) hash: String,
}

/// What every script begins with. The layout is that of `row.rs`.
const COMMON: &str = include_str!("common.lua");

/// Keys: row, tags, expiry. Arguments: key, expected version, packed record, expiry, channel.
pub(super) static SWAP: LazyLock<Script> = LazyLock::new(|| script(include_str!("swap.lua")));

/// Keys: row, tags, expiry. Arguments: key, expected version or empty, channel.
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| script(include_str!("delete.lua")));

/// Keys: tags, expiry, then rows. Arguments: now, channel, then the rows' keys.
pub(super) static DELETE_EXPIRED: LazyLock<Script> = LazyLock::new(|| script(include_str!("delete_expired.lua")));

fn script(body: &str) -> Script {
    let source = [COMMON, body].concat();
    let hash = redis::Script::new(&source).get_hash().to_owned();
    Script { source, hash }
}
