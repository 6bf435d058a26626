-- Forget a consumer that has nothing pending.
-- KEYS: log
-- ARGV: consumer
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local pending = redis.pcall('XPENDING', KEYS[1], 'archive', '-', '+', 1, ARGV[1])
if pending.err or #pending > 0 then
  return 0
end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'archive', ARGV[1])
