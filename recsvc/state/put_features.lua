-- Replace a user's features; the prior depends on them, so the revision grows too.
-- KEYS: log, meta, state
-- ARGV: user, features (JSON), state TTL (s), revision that the user must be at ('': any)
-- Returns: the new revision; nil where the old one is not the one asked for
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local before = redis.call('HGET', KEYS[2], 'revision') or '0'
if ARGV[4] ~= '' and ARGV[4] ~= before then
  return false
end
local revision = string.format('%.0f', math.max(tonumber(before) + 1, now_us))
redis.call('XADD', KEYS[1], '*', 'kind', 'features', 'user', ARGV[1], 'data', ARGV[2])
redis.call('HSET', KEYS[2], 'revision', revision, 'features', ARGV[2])
redis.call('DEL', KEYS[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return revision
