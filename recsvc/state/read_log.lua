-- Hand entries of a partition's log to a consumer of the archive's group.
-- KEYS: log
-- ARGV: consumer, entries at most, 'new', or the cursor of a claim: then entries that a dead consumer left, idle for at least ARGV[4] ms
-- Returns: cursor of the next claim ('0-0': no more), then id, kind, user, data of each entry
local log, consumer, count, mode = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', log) == 0 then
  return {'0-0'}
end
local made = redis.pcall('XGROUP', 'CREATE', log, 'archive', '0')
if made.err and not string.find(made.err, 'BUSYGROUP') then
  return made
end
local answer = {'0-0'}
local function add(entry)
  local fields = entry[2]
  answer[#answer + 1] = {entry[1], fields[2], fields[4], fields[6]}
end
if mode == 'new' then
  local read = redis.call('XREADGROUP', 'GROUP', 'archive', consumer, 'COUNT', count, 'STREAMS', log, '>')
  for _, entry in ipairs(read and read[1][2] or {}) do
    add(entry)
  end
  return answer
end
local claimed = redis.call('XAUTOCLAIM', log, 'archive', consumer, ARGV[4], mode, 'COUNT', count, 'JUSTID')
answer[1] = claimed[1]
for _, id in ipairs(claimed[2]) do
  local entry = redis.call('XRANGE', log, id, id)
  if #entry == 1 then
    add(entry[1])
  else
    -- Erased since it was handed out.
    redis.call('XACK', log, 'archive', id)
  end
end
return answer
