-- Store tasks, in order: new ones, and deferred ones, which an agent may have started or ended (deferred_writes.py).
--
-- request  {most queues of a method, {{id, queue, priority, delay, to_start, to_close, options, request id, digest, payload, context,
--          started: {agent, epoch, time, outcome of a success or false} or false}…}}; false: unset
-- reads    q:<request id>, last, sets, widths
-- writes   t: b: q: all last, and what `place` writes; o: expiry for an ended task
-- result   for each {outcome, task id}: 0 stored, 1 existed already, 2 the request id belongs to another request,
--          3 this would be one queue more than the method may have

-- When a task was created, to the microsecond, by its id; now at the latest.
local function created_at(id)
  local high, low = tonumber(string.sub(id, 1, 8), 16), tonumber(string.sub(id, 9, 16), 16)
  return math.min(high * 4194304 + math.floor(low / 1024), math.floor(now * 1e6 + 0.5)) / 1e6
end

-- A task that was never among the unfinished ones.
local function store_ended(id, t, outcome)
  t.s, t.b, t.rp = SUCCEEDED, RUNNING, true
  t.fi = now
  t.ex = now + option(t, RESULT_TTL_S)
  keep(id, t, nil, outcome)
  call('ZADD', all('expiry'), score(t.ex), id)
  due_at(t.ex)
  tell(id, t)
end

local function store_started(id, t)
  place(id, t, RUNNING)
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

local results = {}
local last = call('GET', all('last')) or ''
for index, item in ipairs(request[2]) do
  local id, request_id = item[1], item[8]
  local known = request_id and call('GET', key('q', request_id))
  if known then
    local same = string.sub(known, 1, #item[9]) == item[9]
    results[index] = {same and 1 or 2, string.sub(known, #item[9] + 1)}
  elseif call('EXISTS', key('t', id)) == 1 then
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
    if request_id then
      call('SET', key('q', request_id), item[9] .. id)
    end
    if #item[10] > 0 or #item[11] > 0 then
      call('SET', key('b', id), cmsgpack.pack({item[10], item[11]}))
    end
    call('ZADD', all('all'), 0, id)
    local started = item[12]
    if started then
      t.a, t.oa, t.oe, t.st = 1, started[1], started[2], started[3]
    end
    if started and started[4] then
      store_ended(id, t, started[4])
    elseif started then
      store_started(id, t)
    else
      place(id, t, delay and SCHEDULED or QUEUED)
      save(id, t)
    end
    if id > last then
      last = id
      call('SET', all('last'), last)
    end
    results[index] = {0, id}
  end
end
return reply(results)
