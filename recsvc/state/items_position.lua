-- The end of the stream of item changes: id and number of its last entry.
-- KEYS: items changes, items meta
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last == 0 then
  return {'0-0', '0'}
end
return {last[1][1], redis.call('HGET', KEYS[2], 'changes') or '0'}
