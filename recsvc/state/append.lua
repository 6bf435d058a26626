-- Store one user's events: all of it happens, or nothing.
-- KEYS: log, support, meta, state, seen, taken (one hash slot)
-- ARGV: user, max events, state TTL (s), dedupe TTL (s), then event id, place in time (ms), event (JSON), number of its item ('' where it does not count) of each event
-- Returns: accepted, duplicates, how many that count are the user's first on their item
local log, support, meta, state, seen, taken = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local user, max_events, state_ttl_s, dedupe_ttl_s = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

-- The revision is a time in microseconds, made to grow: it never repeats, not even after an
-- eviction, an expiry or an erasure, so an old reader's compare-and-set can never win.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local before = tonumber(redis.call('HGET', meta, 'revision') or '0')
local revision = string.format('%.0f', math.max(before + 1, now_us))

-- Numbers in a set of at most so many take eight bytes each.
local MAX_TAKEN = 512

local function is_first(item)
  if redis.call('SISMEMBER', taken, item) == 1 then
    return false
  end
  if redis.call('SCARD', taken) >= MAX_TAKEN then
    redis.call('SPOP', taken)
  end
  redis.call('SADD', taken, item)
  return true
end

-- The first write must be one that Redis refuses when its memory is full: nothing is half done then.
local accepted, duplicates, firsts = 0, 0, 0
for i = 5, #ARGV, 4 do
  local event_id, order_ms, event, item = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('ZADD', seen, 'NX', string.format('%.0f', now_us / 1000), event_id) == 1 then
    redis.call('XADD', log, '*', 'kind', 'event', 'user', user, 'data', event)
    -- Equal scores sort by member, which begins with the order of arrival.
    local arrival = string.format('%016.0f%06d', tonumber(revision), accepted)
    redis.call('ZADD', support, order_ms, arrival .. event)
    accepted = accepted + 1
    if item ~= '' and is_first(item) then
      firsts = firsts + 1
    end
  else
    duplicates = duplicates + 1
  end
end
if accepted > 0 then
  redis.call('ZREMRANGEBYSCORE', seen, '-inf', now_us / 1000 - tonumber(dedupe_ttl_s) * 1000)
  redis.call('ZREMRANGEBYRANK', support, 0, -max_events - 1)
  redis.call('HSET', meta, 'revision', revision)
  redis.call('DEL', state)
  redis.call('EXPIRE', support, state_ttl_s)
  redis.call('EXPIRE', meta, state_ttl_s)
  redis.call('EXPIRE', seen, dedupe_ttl_s)
  redis.call('EXPIRE', taken, state_ttl_s)
end
return {accepted, duplicates, firsts}
