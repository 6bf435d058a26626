-- Who counts for some items, without naming them; what is read lives on.
-- KEYS: supports meta, supported, then the support of each item (one hash slot)
-- ARGV: TTL (s), then each item
-- Returns: positive events of all users, then for each item its entry ('' where it has no support) and its records, in any order
local answer = {redis.call('HGET', KEYS[1], 'positives') or '0'}
for i = 3, #KEYS do
  local item = ARGV[i - 1]
  local records = redis.call('HVALS', KEYS[i])
  if #records == 0 then
    answer[#answer + 1] = {''}
    -- Expired, evicted, or its last user is gone.
    redis.call('HDEL', KEYS[2], item)
  else
    redis.call('EXPIRE', KEYS[i], ARGV[1])
    answer[#answer + 1] = {redis.call('HGET', KEYS[2], item) or '', unpack(records)}
  end
end
return answer
