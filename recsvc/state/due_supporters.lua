-- Users whose records have reached their end.
-- KEYS: supporters
-- ARGV: users at most
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1], 'LIMIT', 0, ARGV[1])
