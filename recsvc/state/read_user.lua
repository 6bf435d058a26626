-- All that a request needs of one user, from one moment.
-- KEYS: support, meta, state
-- ARGV: model version
-- Returns: revision, features (JSON or nil), state (or nil), then the events, oldest first
local fields = redis.call('HMGET', KEYS[2], 'revision', 'features')
local revision = fields[1] or '0'
local state = false
local stored = redis.call('HGET', KEYS[3], ARGV[1])
if stored and string.sub(stored, 1, #revision + 1) == revision .. ':' then
  state = string.sub(stored, #revision + 2)
end
local answer = {revision, fields[2], state}
for i, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  answer[3 + i] = string.sub(member, 23)
end
return answer
