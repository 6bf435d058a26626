-- Keep an adapted state, unless the user has changed since it was computed.
-- KEYS: meta, state
-- ARGV: model version, revision it was computed at, state, state TTL (s)
-- Returns: 1 if it was kept, else 0
local revision = redis.call('HGET', KEYS[1], 'revision') or '0'
if revision ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], revision .. ':' .. ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
