//! The writes, as Lua: each runs in one piece, whoever else writes.

use std::sync::LazyLock;

/// A script, and the name under which the server knows it once it has seen it.
pub(super) struct Script {
    pub(super) source: String,
    pub(super) hash: String,
}

/// What every script begins with. The layout is that of `row.rs`.
const COMMON: &str = r"
local function row_at(name)
  local row = redis.call('GET', name)
  if row and #row >= 17 and #row >= 17 + 32 * string.byte(row, 17) then return row end
  return false
end

local function untag(row, key, tags)
  for i = 0, string.byte(row, 17) - 1 do
    redis.call('ZREM', tags, string.sub(row, 18 + 32 * i, 49 + 32 * i) .. key)
  end
end

-- Nobody may be listening, and this user may not be allowed to say it: the write stands all the same.
local function tell(channel, key)
  redis.pcall('PUBLISH', channel, key)
end
";

/// Keys: row, tags, expiry. Arguments: key, expected version, packed record, expiry, channel.
pub(super) static SWAP: LazyLock<Script> = LazyLock::new(|| script(SWAP_SOURCE));
const SWAP_SOURCE: &str = r"
local key, expected, new = ARGV[1], ARGV[2], ARGV[3]
local old = row_at(KEYS[1])
local version = old and string.sub(old, 1, 8) or ''
-- This very write, asked for again because its answer was lost.
if version == string.sub(new, 1, 8) then return 1 end
if version ~= expected then return 0 end
if old then untag(old, key, KEYS[2]) end
redis.call('SET', KEYS[1], new)
for i = 0, string.byte(new, 17) - 1 do
  redis.call('ZADD', KEYS[2], 0, string.sub(new, 18 + 32 * i, 49 + 32 * i) .. key)
end
redis.call('ZADD', KEYS[3], ARGV[4], key)
tell(ARGV[5], key)
return 1
";

/// Keys: row, tags, expiry. Arguments: key, expected version or empty, channel.
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| script(DELETE_SOURCE));
const DELETE_SOURCE: &str = r"
local key, expected = ARGV[1], ARGV[2]
local old = row_at(KEYS[1])
if not old then return 0 end
if expected ~= '' and expected ~= string.sub(old, 1, 8) then return 0 end
untag(old, key, KEYS[2])
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], key)
tell(ARGV[3], key)
return 1
";

/// Keys: tags, expiry, then rows. Arguments: now, channel, then the rows' keys.
pub(super) static DELETE_EXPIRED: LazyLock<Script> = LazyLock::new(|| script(DELETE_EXPIRED_SOURCE));
const DELETE_EXPIRED_SOURCE: &str = r"
local deleted = 0
for i = 3, #KEYS do
  local key = ARGV[i]
  local expiry = redis.call('ZSCORE', KEYS[2], key)
  -- It may have been written again since it was found to be due.
  if expiry and tonumber(expiry) <= tonumber(ARGV[1]) then
    local old = row_at(KEYS[i])
    if old then
      untag(old, key, KEYS[1])
      redis.call('DEL', KEYS[i])
      deleted = deleted + 1
    end
    redis.call('ZREM', KEYS[2], key)
    tell(ARGV[2], key)
  end
end
return deleted
";

fn script(body: &str) -> Script {
    let source = [COMMON, body].concat();
    let hash = redis::Script::new(&source).get_hash().to_owned();
    Script { source, hash }
}
