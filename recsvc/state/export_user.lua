-- Everything that a user's own keys hold.
-- KEYS: support, meta, state, seen, taken
-- Returns: support members, meta, states, event ids and numbers of items, each as a flat list
return {
  redis.call('ZRANGE', KEYS[1], 0, -1),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
  redis.call('ZRANGE', KEYS[4], 0, -1),
  redis.call('SMEMBERS', KEYS[5]),
}
