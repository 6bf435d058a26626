-- Delete a user's own keys and leave a mark in the log, from which archives learn of the erasure.
-- KEYS: log, support, meta, state, seen
-- ARGV: hash of the user id
-- Returns: id of the mark, keys deleted, keys left
local marker = redis.call('XADD', KEYS[1], '*', 'kind', 'erase', 'user', ARGV[1], 'data', '')
local deleted = redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return {marker, deleted, redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4], KEYS[5])}
