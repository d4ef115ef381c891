-- Bring what version 1 left to the present layout: queues and agents, then some tasks at a time. To repeat it is harmless.
--
-- request  {the task to go on behind, '' at first, most tasks}
-- reads    queues, agents, all, t:, b:, o:, p:
-- writes   queues, sets, widths, moved, moves, fleet, changes, t:, s:
-- result   the task to go on behind; false: these were the last

-- Items of progress that are read at a time.
local ROWS = 1000

local function sizes(id)
  call('DEL', key('s', id))
  local total, at = 0, 0
  while true do
    local rows = call('LRANGE', key('p', id), at, at + ROWS - 1)
    for index, row in ipairs(rows) do
      rows[index], total = struct.pack('>I4', #row), total + #row
    end
    if #rows > 0 then
      call('APPEND', key('s', id), table.concat(rows))
    end
    if #rows < ROWS then
      return total
    end
    at = at + ROWS
  end
end

local behind, most = request[1], request[2]
if behind == '' then
  call('DEL', all('sets'), all('widths'))
  local queues = call('HGETALL', all('queues'))
  for at = 1, #queues, 2 do
    call('HDEL', all('queues'), queues[at])
    tally(queues[at], tonumber(queues[at + 1]))
    touched[queues[at]] = true
  end
  for _, agent in ipairs(call('HKEYS', all('agents'))) do
    agent_changed(agent)
  end
end

local ids = call('ZRANGEBYLEX', all('all'), behind == '' and '-' or '(' .. behind, '+', 'LIMIT', 0, most)
for _, id in ipairs(ids) do
  local t = load(id)
  if t and not t.bs then
    t.bs = call('STRLEN', key('b', id))
    t.o = t.o and call('STRLEN', key('o', id)) or nil
    t.nb = t.n and sizes(id) or nil
    save(id, t)
  end
end
return reply(#ids == most and ids[most] or false)
