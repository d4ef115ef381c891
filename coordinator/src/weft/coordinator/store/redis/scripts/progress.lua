-- Store responses of streaming attempts.
--
-- request  {most responses of a task, most bytes of them, {{agent, epoch, id, attempt, index, payload, headers}…}}
-- reads    t:
-- writes   t:, p:, s:
-- result   for each: 0 stored, 1 known, 2 stale, 3 too many; then {{id, sequence, attempt, payload index}…} of the new ones

local STORED, KNOWN, STALE, LIMIT = 0, 1, 2, 3
local most, most_bytes = request[1], request[2]
local results, rows = {}, {}

local function store(index, item)
  local id = item[3]
  local t = running(item[1], item[2], id, item[4])
  if not t then
    return STALE
  end
  if t.na ~= item[4] then
    t.na, t.ni = item[4], 0
  end
  if item[5] <= t.ni then
    return KNOWN
  end
  if item[5] ~= t.ni + 1 then
    -- A response is missing: this attempt cannot be recorded any more.
    crash(id, t)
    return STALE
  end
  local size = (t.nb or 0) + #item[6] + #item[7]
  if (t.n or 0) >= most or size > most_bytes then
    return LIMIT
  end
  t.n, t.ni, t.nb = (t.n or 0) + 1, item[5], size
  local row = item[7] == '' and cmsgpack.pack({item[4], item[6]}) or cmsgpack.pack({item[4], item[6], item[7]})
  call('RPUSH', key('p', id), row)
  call('APPEND', key('s', id), struct.pack('>I4', #row))
  save(id, t)
  rows[#rows + 1] = {id, t.n, item[4], index}
  return STORED
end

for index, item in ipairs(request[3]) do
  results[index] = store(index, item)
end
local told = {}
for _, row in ipairs(rows) do
  if not told[row[1]] then
    told[row[1]] = true
    changed[#changed + 1] = {row[1], false}
  end
end
return reply({results, rows})
