-- The scripts of recorded steps, one function each. A script is this file and a call of its function, whose result is the reply's.

-- A record of a task: {name, kind, value, attempt, time, wake time or false}.
local function record_at(id, index)
  return cmsgpack.unpack(call('LINDEX', key('steps', id), index - 1))
end

-- Add a record. Returns its sequence, or nil if the task has as many as it may have. The caller saves the task.
local function add_record(id, t, row, most, most_bytes)
  local size = (t.pb or 0) + #row[3]
  if (t.pn or 0) >= most or size > most_bytes then
    return nil
  end
  t.pn, t.pb = (t.pn or 0) + 1, size
  call('RPUSH', key('steps', id), cmsgpack.pack(row))
  call('HSET', key('step_names', id), row[1], t.pn)
  return t.pn
end

-- Record a step of a running attempt.
--
-- request  {id, attempt, agent or '', name, kind, value, delay or false, most records, most bytes}
-- writes   t:, steps:, step_names:
-- result   {sequence, record, whether it was there}; 1: the attempt is over; 2: too many
local function record_step()
  local id, attempt, agent, name, kind, value, delay, most, most_bytes = unpack(request)
  local t = load(id)
  if not t or t.s ~= RUNNING or t.a ~= attempt or (agent ~= '' and t.oa ~= agent) then
    return 1
  end
  local known = t.pn and tonumber(call('HGET', key('step_names', id), name) or nil)
  if known then
    return {known, record_at(id, known), true}
  end
  local row = {name, kind, value, attempt, now, delay and now + delay}
  local sequence = add_record(id, t, row, most, most_bytes)
  if not sequence then
    return 2
  end
  save(id, t)
  return {sequence, row, false}
end

-- Store a signal, as the next one of its name; and queue a task that waits for it.
--
-- request  {id, "signal/NAME", value, the signal's id or '', kind, most records, most bytes}
-- writes   t:, steps:, step_names:, and what `enter` writes
-- result   as of record_step; 1: the task has ended
local function send_signal()
  local id, name, value, signal_id, kind, most, most_bytes = unpack(request)
  local t = load(id)
  if not t or t.s >= SUCCEEDED then
    return 1
  end
  -- No name of a step has a line feed, or begins so.
  local names, same = key('step_names', id), name .. '\n' .. signal_id
  local known = signal_id ~= '' and t.pn and tonumber(call('HGET', names, same) or nil)
  if known then
    return {known, record_at(id, known), true}
  end
  local count = tonumber(call('HGET', names, name) or '0') + 1
  local row = {string.format('%s#%d', name, count), kind, value, 0, now, false}
  local sequence = add_record(id, t, row, most, most_bytes)
  if not sequence then
    return 2
  end
  call('HSET', names, name, count)
  if signal_id ~= '' then
    call('HSET', names, same, sequence)
  end
  t.ps = (t.ps or 0) + 1
  if t.s == SCHEDULED and t.w == t.a then
    t.at = now
    leave(id, t)
    enter(id, t, QUEUED)
    arm(id, t)
    tell(id, t)
  else
    save(id, t)
  end
  return {sequence, row, false}
end

-- Read records after a sequence, in order, until they have so many bytes; at least one.
--
-- request  {id, after, most records, most bytes}
-- result   {record…}
local function list_steps()
  local id, after, most, most_bytes = unpack(request)
  local found, size = {}, 0
  while #found < most and size <= most_bytes do
    local step = math.min(STEPS_READ, most - #found)
    local from = after + #found
    local raws = call('LRANGE', key('steps', id), from, from + step - 1)
    for _, raw in ipairs(raws) do
      size = size + #raw
      if #found > 0 and size > most_bytes then
        break
      end
      found[#found + 1] = cmsgpack.unpack(raw)
    end
    if #raws < step then
      break
    end
  end
  return found
end

-- Store records of a task that is not stored yet: enqueue.lua gives them to it. May be repeated.
--
-- request  {id, number of records before these, {record…}, kind of a signal, seconds for which they are kept without the task}
-- writes   steps:, step_names:
-- result   the number of records
local function import_steps()
  local id, before, rows, signal, kept_s = unpack(request)
  local list, names = key('steps', id), key('step_names', id)
  if before == 0 then
    call('DEL', list, names)
  else
    call('LTRIM', list, 0, before - 1)
  end
  for at, row in ipairs(rows) do
    call('RPUSH', list, cmsgpack.pack(row))
    call('HSET', names, row[1], before + at)
    local name, number = string.match(row[1], '^(.*)#(%d+)$')
    if row[2] == signal and name then
      call('HSET', names, name, number)
    end
  end
  call('EXPIRE', list, kept_s)
  call('EXPIRE', names, kept_s)
  return before + #rows
end
