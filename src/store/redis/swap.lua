-- Keys: row, tags, expiry. Arguments: key, expected version, packed record, expiry, channel.
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
