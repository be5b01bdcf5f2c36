-- What every script begins with. The layout is that of `row.rs`.
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
