-- Keys: tags, expiry, then rows. Arguments: now, channel, then the rows' keys.
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
