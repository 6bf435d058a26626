-- Store one user's events: all of it happens, or nothing.
-- KEYS: log, support, meta, state, seen (one hash slot)
-- ARGV: user, max events, state TTL (s), dedupe TTL (s), then event id, place in time (ms), event (JSON) of each event
-- Returns: accepted, duplicates, then the place (from 1) of each duplicate among the events
local log, support, meta, state, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local user, max_events, state_ttl_s, dedupe_ttl_s = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

-- The revision is a time in microseconds, made to grow: it never repeats, not even after an
-- eviction, an expiry or an erasure, so an old reader's compare-and-set can never win.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local before = tonumber(redis.call('HGET', meta, 'revision') or '0')
local revision = string.format('%.0f', math.max(before + 1, now_us))

-- The first write must be one that Redis refuses when its memory is full: nothing is half done then.
local accepted, duplicates = 0, 0
local answer = {}
for i = 5, #ARGV, 3 do
  local event_id, order_ms, event = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('ZADD', seen, 'NX', string.format('%.0f', now_us / 1000), event_id) == 1 then
    redis.call('XADD', log, '*', 'kind', 'event', 'user', user, 'data', event)
    -- Equal scores sort by member, which begins with the order of arrival.
    local arrival = string.format('%016.0f%06d', tonumber(revision), accepted)
    redis.call('ZADD', support, order_ms, arrival .. event)
    accepted = accepted + 1
  else
    duplicates = duplicates + 1
    answer[2 + duplicates] = (i - 2) / 3
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
end
answer[1], answer[2] = accepted, duplicates
return answer
