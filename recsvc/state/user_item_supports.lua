-- A user's records in the supports of some items.
-- KEYS: the support of each item (one hash slot)
-- ARGV: user, then each item
-- Returns: item and record of each one found
local answer = {}
for i = 1, #KEYS do
  local record = redis.call('HGET', KEYS[i], ARGV[1])
  if record then
    answer[#answer + 1] = {ARGV[i + 1], record}
  end
end
return answer
