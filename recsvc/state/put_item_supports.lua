-- Count positive events of all users, and let users count for items, or no longer.
-- KEYS: supports meta, supported, supports (stream), items state, then support and erasure mark of each row (one hash slot)
-- ARGV: positive events to count, users an item keeps, TTL (s), changes that the stream keeps, then item, user, '1' if the item needs no entry in the items state, record ('': the user no longer counts) of each row
-- Returns: the count, then 1 for each row that is as it should be, 0 for one that is refused for now
local meta, supported, stream, items = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local max_users, ttl_s, kept = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local positives = redis.call('HINCRBY', meta, 'positives', ARGV[1])
local answer = {positives}

local function changed(item, support, first)
  local number = redis.call('HINCRBY', meta, 'changes', 1)
  local users = redis.call('HLEN', support)
  redis.call('HSET', supported, item, string.format('%s %d %d', first, number, users))
  redis.call('XADD', stream, '*', 'number', number, 'item', item, 'first', first, 'users', users)
  return number
end

local function first_of(item)
  local entry = redis.call('HGET', supported, item)
  return entry and string.match(entry, '^%S+')
end

local function add(support, erasure, item, user, is_known, record)
  if redis.call('EXISTS', erasure) == 1 then
    return 0
  end
  if is_known ~= '1' then
    local features = redis.call('HGET', items, item)
    if not features or features == 'null' then
      return 0
    end
  end
  local users = redis.call('HLEN', support)
  if users < max_users and redis.call('HEXISTS', support, user) == 0 then
    -- An item whose support is empty starts anew: its exposure counts from here.
    local first = users > 0 and first_of(item) or string.format('%d', positives)
    local next_change = tonumber(redis.call('HGET', meta, 'changes') or '0') + 1
    redis.call('HSET', support, user, string.format('%016d', next_change) .. record)
    redis.call('EXPIRE', support, ttl_s)
    changed(item, support, first)
  end
  return 1
end

for i = 5, #ARGV, 4 do
  local place = 5 + (i - 5) / 2
  local item, user, is_known, record = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if record ~= '' then
    answer[#answer + 1] = add(KEYS[place], KEYS[place + 1], item, user, is_known, record)
  else
    if redis.call('HDEL', KEYS[place], user) == 1 then
      changed(item, KEYS[place], first_of(item) or string.format('%d', positives))
    end
    answer[#answer + 1] = 1
  end
end
redis.call('XTRIM', stream, 'MAXLEN', kept)
return answer
