-- Keys: row, tags, expiry. Arguments: key, expected version or empty, channel.
local key, expected = ARGV[1], ARGV[2]
local old = row_at(KEYS[1])
if not old then return 0 end
if expected ~= '' and expected ~= string.sub(old, 1, 8) then return 0 end
untag(old, key, KEYS[2])
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], key)
tell(ARGV[3], key)
return 1
