-- Store tasks, in order: new ones, and deferred ones, which an agent may have started or ended (deferred_writes.py).
--
-- request  {most queues of a method, {{id, queue, priority, delay, to_start, to_close, options, request id, digest, payload, context,
--          started: {agent, epoch, time, outcome of a success or false} or false,
--          gates: {limit keys, locks, fairness key, its weight, group or false: {name, most groups, most tasks of it}} or
--          false,
--          more, by name: {cache = seconds that a result answers a cached request,
--          fb = alternatives, fo = index of the present one,
--          ended = state and outcome of a task that has ended elsewhere,
--          steps = number of its recorded steps, which import_steps has stored, bytes of their values, signals among them,
--          by = submitter, most = unfinished tasks that it may have,
--          ks = the state that a lock keeps, most_states = states that there may be,
--          events = {most bytes of a topic, most topics, events as in events.lua}}}…}}; false or absent: unset
-- reads    q:<request id>, last, limited, fair, sets, widths, kept:, submitted
-- writes   t: b: q: all last, and what `place` writes; o: expiry for an ended task; what append_events writes
-- result   for each {outcome, task id}: 0 stored, 1 existed already, 2 the request id belongs to another request,
--          3 this would be one queue more than the method may have; 4 a run limit refuses it {4, the limit's gate, most};
--          its group is {5, name} closed, {6, name, most} full, {7, name, most} one too many;
--          8 this task's result answers the cached request; {9, submitter, most} that one has as many unfinished tasks;
--          {10, id} there would be too many topics; {11, name of its state, most} there would be too many states

-- Most tasks that one submission cancels: a limit may have become much smaller.
local MOST_CANCELLED = 256

-- When a task was created, to the microsecond, by its id; now at the latest.
local function created_at(id)
  local high, low = tonumber(string.sub(id, 1, 8), 16), tonumber(string.sub(id, 9, 16), 16)
  return math.min(high * 4194304 + math.floor(low / 1024), math.floor(now * 1e6 + 0.5)) / 1e6
end

-- A task that was never among the unfinished ones.
local function store_ended(id, t, outcome)
  t.s, t.b, t.rp = SUCCEEDED, RUNNING, true
  note(EVENT_ATTEMPT_SUCCEEDED, t.q)
  note(EVENT_SUCCEEDED, t.q)
  t.fi = now
  t.ex = now + option(t, RESULT_TTL_S)
  keep(id, t, nil, outcome)
  call('ZADD', all('expiry'), score(t.ex), id)
  due_at(t.ex)
  tell(id, t)
end

local function store_started(id, t)
  place(id, t, RUNNING)
  if limited then
    -- Its coordinator had not heard of the limit yet: as if the attempt had started before the limit was set.
    open_gates().count_in(id, t)
  end
  if leased(t.oa, t.oe) then
    tell(id, t)
  else
    -- The agent was lost meanwhile.
    revoke(t.oa, t.oe, id, t.a, 'its session is over', 0, true)
    crash(id, t)
  end
end

-- Whether a task of this queue would bring one set of requirements more than its method may have.
local function too_many(queue)
  local method, set = required(queue)
  return set and tonumber(call('HGET', all('widths'), method) or '0') >= request[1]
    and call('HEXISTS', all('sets'), set) == 0
end

-- Why a run limit cancels a task, as at_limit.py says it.
local function reason_of(item, which)
  local method, expression, value = string.match(item[1], '^r([^\n]*)\n([^\n]*)\n(.*)$')
  local by = expression == '' and '' or ' by ' .. expression .. ': ' .. value
  return 'the run limit of ' .. method .. by .. ' allows ' .. item[2][1] .. ' unfinished tasks, and cancels the ' .. which
    .. ' one beyond'
end

-- Apply the run limits that do not let a new task wait. Returns the one that refuses it, or the one that cancels it.
local function at_limits(t)
  local newest, oldest = nil, {}
  for _, item in ipairs(open_gates().strict(t)) do
    local rule = item[2]
    item.over = call('ZCARD', key('kept', item[3])) + 1 - rule[1]
    if item.over > 0 then
      if rule[4] == LIMIT_REFUSE then
        return item, nil
      elseif rule[4] == LIMIT_CANCEL_NEWEST then
        newest = newest or item
      else
        oldest[#oldest + 1] = item
      end
    end
  end
  for _, item in ipairs(newest and {} or oldest) do
    for _, id in ipairs(call('ZRANGE', key('kept', item[3]), 0, math.min(item.over, MOST_CANCELLED) - 1)) do
      if cancel(id, load(id), reason_of(item, 'oldest'), item[2][5]) then
        due_at(now)
      end
    end
  end
  return nil, newest
end

-- `newest`: the run limit that cancels it.
local function store(id, t, item, newest)
  local request_id, started = item[8], item[12]
  if request_id then
    call('SET', key('q', request_id), item[9] .. id)
  end
  if #item[10] > 0 or #item[11] > 0 then
    call('SET', key('b', id), cmsgpack.pack({item[10], item[11]}))
  end
  call('ZADD', all('all'), 0, id)
  if t.pn then
    call('PERSIST', key('steps', id))
    call('PERSIST', key('step_names', id))
  end
  note(EVENT_SUBMITTED, t.q)
  if started then
    t.a, t.oa, t.oe, t.st = 1, started[1], started[2], started[3]
  end
  if started and started[4] then
    store_ended(id, t, started[4])
  elseif started then
    store_started(id, t)
  else
    place(id, t, t.d and SCHEDULED or QUEUED)
    if item[14] and item[14].ended then
      finish(id, t, item[14].ended[1], nil, item[14].ended[2])
    elseif newest then
      finish(id, t, CANCELLED, 'cancelled:' .. reason_of(newest, 'newest'))
    else
      save(id, t)
    end
  end
end

-- The task of a cached request's id: whether its result answers. Any other ended task gives the request id away.
local function cached(known, digest, ttl_s)
  local id = string.sub(known, #digest + 1)
  local t = load(id)
  if t and t.s < SUCCEEDED then
    return known, false
  end
  local same = string.sub(known, 1, #digest) == digest
  if t and same and t.s == SUCCEEDED and not t.z and now < math.min(t.fi + ttl_s, t.ex) then
    return known, true
  end
  if t and t.s == SUCCEEDED and not t.z and not same then
    return known, false
  end
  if t then
    t.r = nil
    save(id, t)
  end
  return false, false
end

local results = {}
local known_of = call('MGET', all('last'), all('limited'), all('fair'))
local last = known_of[1] or ''
limited, fair = known_of[2] ~= false, known_of[3] ~= false

-- Set what few tasks have.
local function set_gates(t, given)
  t.g, t.l, t.fk, t.fw = given[1] or nil, given[2] or nil, given[3] or nil, given[4] or nil
end

for index, item in ipairs(request[2]) do
  local id, request_id = item[1], item[8]
  local known, more, reused = request_id and call('GET', key('q', request_id)), item[14], false
  if known and more and more.cache then
    known, reused = cached(known, item[9], more.cache)
  end
  if reused then
    results[index] = {8, string.sub(known, #item[9] + 1)}
  elseif known then
    local same = string.sub(known, 1, #item[9]) == item[9]
    results[index] = {same and 1 or 2, string.sub(known, #item[9] + 1)}
  elseif id <= last and call('EXISTS', key('t', id)) == 1 then
    -- A repeat of a call whose answer was lost.
    results[index] = {0, id}
  elseif not item[12] and too_many(item[2]) then
    results[index] = {3, id}
  else
    local delay, created = item[4] or nil, created_at(id)
    local t = {
      q = item[2], p = item[3], c = created, d = delay, ss = item[5] or nil, sc = item[6] or nil, x = item[7],
      r = request_id or nil, at = delay and created + delay or nil, a = 0, bs = #item[10] + #item[11],
    }
    if item[13] then
      set_gates(t, item[13])
    end
    if more then
      t.fb, t.fo, t.by, t.ks = more.fb, more.fo, more.by, more.ks
      if more.steps then
        t.pn, t.pb, t.ps = unpack(more.steps)
      end
    end
    local started, refused, newest = item[12], nil, nil
    local group = item[13] and item[13][5]
    if group then
      refused = open_groups().refusal(unpack(group))
    end
    if not refused and t.by and not started then
      local count = tonumber(call('HGET', all('submitted'), t.by) or '0') + (sums.submitted[t.by] or 0)
      refused = count >= more.most and {9, t.by, more.most}
    end
    if not refused and t.ks and keyed_states().is_full(t.ks, more.most_states) then
      refused = {11, t.ks, more.most_states}
    end
    if not refused and limited and not started and not (more and more.ended) then
      local gate
      gate, newest = at_limits(t)
      refused = gate and {4, gate[1], gate[2][1]}
    end
    if not refused and more and more.events then
      local keep_bytes, most_topics, events = unpack(more.events)
      refused = not event_logs().append(events, keep_bytes, most_topics) and {10, id}
    end
    if refused then
      results[index] = refused
    else
      if group then
        open_groups().join(id, t, group[1])
      end
      store(id, t, item, newest)
      if id > last then
        last = id
      end
      results[index] = {0, id}
    end
  end
end
if last ~= known_of[1] and last ~= '' then
  call('SET', all('last'), last)
end
return reply(results)
