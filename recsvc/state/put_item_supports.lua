-- Count positive events of all users, and let users count for items, or no longer.
-- KEYS: supports meta, supported, supports (stream), items state, supporters, then support, erasure mark and the user's items of each row (one hash slot)
-- ARGV: positive events to count, users that an item ever keeps, TTL of a support (s), changes that the stream keeps, then for each row: item, user, '1' if the item needs no entry in the items state, revision of the user that the row was made from, end of the user's record (s since 1970), and what is to be done: a record (JSON), '' (the user no longer counts), 'forget' (nothing of the user stays), or 'expire' (the same, if the user's records are due)
-- Returns: the count, then for each row: 1 if it is as it should be, 0 if it is refused for now; where something is forgotten: whether there was a record
local meta, supported, stream, items, supporters = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local max_users, ttl_s, kept = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local positives = redis.call('HINCRBY', meta, 'positives', ARGV[1])
local now_s = tonumber(redis.call('TIME')[1])

local function standing(item)
  local entry = redis.call('HGET', supported, item)
  local first, added, last
  if entry then
    first, added, last = string.match(entry, '^(%S+) %S+ %S+ (%S+) (%S+)$')
  end
  return first or positives, tonumber(added or 0), last or positives
end

local function changed(row, first, added, last)
  local number = redis.call('HINCRBY', meta, 'changes', 1)
  local users = redis.call('HLEN', row.support)
  local entry = string.format('%d %d %d %d %d', first, number, users, added, last)
  if users > 0 then
    redis.call('HSET', supported, row.item, entry)
  else
    redis.call('HDEL', supported, row.item)
  end
  redis.call('XADD', stream, '*', 'number', number, 'item', row.item, 'entry', entry)
end

-- Whether what another writer made of newer events stands already.
local function is_old(row)
  local decided = redis.call('HGET', row.own, row.item)
  return decided and tonumber(decided) > tonumber(row.revision)
end

local function decide(row)
  redis.call('HSET', row.own, row.item, row.revision)
  local due_s = tonumber(redis.call('ZSCORE', supporters, row.user) or 0)
  if tonumber(row.due_s) > due_s then
    redis.call('ZADD', supporters, row.due_s, row.user)
  end
end

local function add(row)
  if redis.call('EXISTS', row.erasure) == 1 then
    return 0
  end
  if row.is_known ~= '1' then
    local features = redis.call('HGET', items, row.item)
    if not features or features == 'null' then
      return 0
    end
  end
  if is_old(row) then
    return 1
  end
  local first, added, last = standing(row.item)
  if redis.call('HLEN', row.support) == 0 then
    -- An item whose support is empty starts anew: its exposure counts from here.
    first, added, last = positives, 0, positives
  end
  if redis.call('HEXISTS', row.support, row.user) == 0 and added < max_users then
    -- Who changed their mind takes the place that they had.
    if added == 0 or redis.call('HEXISTS', row.own, row.item) == 0 then
      added, last = added + 1, positives
    end
    local place = tonumber(redis.call('HGET', meta, 'changes') or '0') + 1
    redis.call('HSET', row.support, row.user, string.format('%016d%016d', place, positives) .. row.record)
    redis.call('EXPIRE', row.support, ttl_s)
    decide(row)
    changed(row, first, added, last)
  end
  return 1
end

local function remove(row)
  local removed = redis.call('HDEL', row.support, row.user)
  local is_gone = redis.call('HLEN', row.support) == 0 and redis.call('HEXISTS', supported, row.item) == 1
  if removed == 1 or is_gone then
    changed(row, standing(row.item))
  end
  return removed
end

local function contradict(row)
  if not is_old(row) and redis.call('EXISTS', row.erasure) == 0 then
    decide(row)
    remove(row)
  end
  return 1
end

local function forget(row)
  if row.record == 'expire' and tonumber(redis.call('ZSCORE', supporters, row.user) or 0) > now_s then
    return 0
  end
  redis.call('HDEL', row.own, row.item)
  if redis.call('EXISTS', row.own) == 0 then
    redis.call('ZREM', supporters, row.user)
  end
  return remove(row)
end

local does = {[''] = contradict, forget = forget, expire = forget}
local answer = {positives}
for i = 5, #ARGV, 6 do
  local place = 6 + (i - 5) / 2
  local row = {
    support = KEYS[place], erasure = KEYS[place + 1], own = KEYS[place + 2],
    item = ARGV[i], user = ARGV[i + 1], is_known = ARGV[i + 2], revision = ARGV[i + 3],
    due_s = ARGV[i + 4], record = ARGV[i + 5],
  }
  answer[#answer + 1] = (does[row.record] or add)(row)
end
redis.call('XTRIM', stream, 'MAXLEN', kept)
return answer
