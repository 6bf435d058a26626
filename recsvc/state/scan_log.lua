-- A user's entries in a part of the partition's log, to read or to delete.
-- KEYS: log
-- ARGV: user, first id (may begin with "(": exclusive), last id (likewise), entries to look at, 'read' or 'delete'
-- Returns: the last id looked at ('' where none was left), then id and data of each entry found
local entries = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
local answer = {''}
for _, entry in ipairs(entries) do
  local id, fields = entry[1], entry[2]
  answer[1] = id
  -- Fields are kind, user, data in this order; an erasure's user is a hash, never an id.
  if fields[2] ~= 'erase' and fields[4] == ARGV[1] then
    answer[#answer + 1] = {id, fields[2], fields[6]}
    if ARGV[5] == 'delete' then
      redis.call('XDEL', KEYS[1], id)
    end
  end
end
return answer
