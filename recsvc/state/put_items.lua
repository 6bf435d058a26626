-- Change run-time items: the table of all of them and the stream that replicas tail, together.
-- KEYS: items state, items changes, items meta (one hash slot)
-- ARGV: changes that the stream keeps, then item, features (JSON; null hides it) of each change
for i = 2, #ARGV, 2 do
  local item, data = ARGV[i], ARGV[i + 1]
  local number = redis.call('HINCRBY', KEYS[3], 'changes', 1)
  redis.call('XADD', KEYS[2], '*', 'number', number, 'item', item, 'data', data)
  redis.call('HSET', KEYS[1], item, data)
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', ARGV[1])
