-- The scripts of topics, one function each. A script is this file and a call of its function, whose result is the reply's.

-- Append events, all or none.
--
-- request  {most bytes of a topic, most topics, {{topic, body, id or ''}…}}
-- writes   topics, topic:, log:, event_ids:, row_kinds, row_revision
-- result   {sequence, whether it was there}… in order; false: there are too many topics
local function append_events()
  return event_logs().append(request[3], request[1], request[2])
end

-- Read events after a sequence, in order, one after the other until they have so many bytes; at least one.
--
-- request  {topic, after, most events, most bytes}
-- result   {first, last, {{sequence, time, body}…}}
local function read_events()
  local topic, after, most, most_bytes = unpack(request)
  local log, found, size, done = event_logs().of(topic), {}, 0, false
  local from = math.max(after + 1, log.first)
  done = from > log.last
  while not done and #found < most do
    local step = math.min(EVENT_STEP, most - #found)
    local entries = call('XRANGE', key('log', topic), string.format('%d-0', from), '+', 'COUNT', step)
    done = #entries < step
    for _, entry in ipairs(entries) do
      if size > most_bytes then
        done = true
        break
      end
      local body = entry[2][2]
      size = size + #body
      found[#found + 1] = {from, tonumber(entry[2][4]), body}
      from = from + 1
    end
  end
  return {log.first, log.last, found}
end

-- Find the sequence after which all events were stored at a time or later.
--
-- request  {topic, time}
-- result   the sequence
local function event_before()
  local topic, at = request[1], request[2]
  local log = event_logs().of(topic)
  local low, high = log.first - 1, log.last
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    local id = string.format('%d-0', middle)
    local entry = call('XRANGE', key('log', topic), id, id)[1]
    if not entry or tonumber(entry[2][4]) < at then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- Read a page of topics, by name.
--
-- request  {the name to go on behind, '' at first, most topics}
-- result   {{{name, first, last, bytes, time of the last}…}, whether there are more}
local function list_topics()
  local behind, most = request[1], request[2]
  local names = call('ZRANGEBYLEX', all('topics'), behind == '' and '-' or '(' .. behind, '+', 'LIMIT', 0, most + 1)
  local more = #names > most
  names[most + 1] = nil
  local found, logs = {}, event_logs()
  for index, name in ipairs(names) do
    local log = logs.of(name)
    found[index] = {name, log.first, log.last, log.size, log.at}
  end
  return {found, more}
end

-- Drop old events of a topic.
--
-- request  {topic, those before this time, most events}
-- writes   topic:, log:
-- result   how many were dropped
local function trim_events()
  local topic, before, most = unpack(request)
  local logs = event_logs()
  local log = logs.of(topic)
  local count = logs.drop(topic, log, math.min(most, log.last - log.first + 1), function(_, at)
    return at < before
  end)
  if count > 0 then
    logs.save(topic, log)
  end
  return count
end
