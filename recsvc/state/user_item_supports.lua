-- A user's records in the supports of some items, to read or to delete.
-- KEYS: supports meta, supported, supports (stream), then the support of each item (one hash slot)
-- ARGV: user, 'read' or 'delete', then each item
-- Returns: item and record of each one found
local meta, supported, stream = KEYS[1], KEYS[2], KEYS[3]
local user, mode = ARGV[1], ARGV[2]
local answer = {}
for i = 4, #KEYS do
  local item = ARGV[i - 1]
  local record = redis.call('HGET', KEYS[i], user)
  if record then
    answer[#answer + 1] = {item, record}
    if mode == 'delete' then
      redis.call('HDEL', KEYS[i], user)
      local entry = redis.call('HGET', supported, item) or '0'
      local first = string.match(entry, '^%S+')
      local number = redis.call('HINCRBY', meta, 'changes', 1)
      local users = redis.call('HLEN', KEYS[i])
      redis.call('HSET', supported, item, string.format('%s %d %d', first, number, users))
      redis.call('XADD', stream, '*', 'number', number, 'item', item, 'first', first, 'users', users)
    end
  end
end
return answer
