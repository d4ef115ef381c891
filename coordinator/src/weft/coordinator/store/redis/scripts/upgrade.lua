-- Bring an earlier layout to the present one: queues and agents, then some tasks at a time. May be repeated.
--
-- request  {the task to go on behind, '' at first, most tasks, names of the options in order, words of those that were left out}
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

-- Layouts 1 and 2 had JSON of the options that were not the default.
local function full_options(text)
  local given = text and cjson.decode(text) or {}
  local retry = given.retry or {}
  local words = {}
  for index, name in ipairs(request[3]) do
    local value = given[name] or retry[index - MAX_ATTEMPTS + 1]
    if name == 'retryable_codes' and value then
      value = table.concat(value, ',')
    end
    words[index] = value and tostring(value) or request[4][index]
  end
  return table.concat(words, ' ')
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
    -- Layout 1 did not have the sizes of values.
    t.bs = call('STRLEN', key('b', id))
    t.o = t.o and call('STRLEN', key('o', id)) or nil
    t.nb = t.n and sizes(id) or nil
  end
  if t and (not t.x or string.sub(t.x, 1, 1) == '{') then
    t.x = full_options(t.x)
    save(id, t)
  end
end
return reply(#ids == most and ids[most] or false)
