-- Acknowledge and remove entries that are archived.
-- KEYS: log
-- ARGV: ids
redis.call('XACK', KEYS[1], 'archive', unpack(ARGV))
return redis.call('XDEL', KEYS[1], unpack(ARGV))
