-- Delete a user's own keys and leave a mark in the log, from which archives learn of the erasure.
-- KEYS: log, meta, then every key to delete
-- ARGV: hash of the user id, revision that the user must be at ('': any)
-- Returns: id of the mark, keys deleted, keys left; nothing where the revision is another one
if ARGV[2] ~= '' and (redis.call('HGET', KEYS[2], 'revision') or '0') ~= ARGV[2] then
  return {}
end
local marker = redis.call('XADD', KEYS[1], '*', 'kind', 'erase', 'user', ARGV[1], 'data', '')
local deleted = redis.call('DEL', unpack(KEYS, 3))
return {marker, deleted, redis.call('EXISTS', unpack(KEYS, 3))}
