-- Who counts for some items, without naming them.
-- KEYS: supports meta, supported, supports (stream), then the support of each item (one hash slot)
-- ARGV: each item
-- Returns: positive events of all users, then for each item its entry ('' where it has no support) and its records, in any order
local answer = {redis.call('HGET', KEYS[1], 'positives') or '0'}
for i = 4, #KEYS do
  local item = ARGV[i - 3]
  local records = redis.call('HVALS', KEYS[i])
  if #records > 0 then
    answer[#answer + 1] = {redis.call('HGET', KEYS[2], item) or '', unpack(records)}
  else
    answer[#answer + 1] = {''}
    if redis.call('HDEL', KEYS[2], item) == 1 then
      -- Expired or evicted; whoever still knows it learns of it.
      local number = redis.call('HINCRBY', KEYS[1], 'changes', 1)
      redis.call('XADD', KEYS[3], '*', 'number', number, 'item', item, 'entry', '0 ' .. number .. ' 0 0 0')
    end
  end
end
return answer
