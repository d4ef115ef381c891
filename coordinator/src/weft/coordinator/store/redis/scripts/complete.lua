-- End attempts, as their owners report it.
--
-- request  {{agent, epoch, id, attempt, code, outcome, retry after or false, crashed, final, sample,
--          trimmed outcome or false for a success, and of a success that has changed its state: the change as in states.lua; or of a handler
--          that only waits: {wake time or false, signals or false, {request ids of calls…}}}…}
-- reads    t:, state:
-- writes   t:, o:, state:, states, state_ends, and what `finish` and `retry` write
-- result   for each: 0 stored, 1 retrying, 2 stale

local STORED, RETRYING, STALE = 0, 1, 2

-- The answer to a repeated report: the same as the first time.
local function answer(t)
  if not t.rp then
    return STALE
  end
  return t.fi and t.b == RUNNING and STORED or RETRYING
end

local function report(item)
  local id = item[3]
  local t = load(id)
  if not t or t.a ~= item[4] or t.oa ~= item[1] or t.oe ~= item[2] then
    return STALE
  end
  if t.s ~= RUNNING then
    return answer(t)
  end
  local change, before = t.ks and item[5] == OK and item[12], nil
  if change then
    before = keyed_states().get(t.ks)
    if change[1] ~= (before and before[1] or 0) then
      -- What it has begun with was lost, and another attempt has begun with something else: this one is void.
      crash(id, t)
      return STALE
    end
  end
  t.rp = true
  local suspended = item[5] ~= OK and item[12]
  if suspended then
    -- Its handler only waits: at most until a time, or until there are more signals than so many.
    note(EVENT_ATTEMPT_RELEASED, t.q)
    if t.ce then
      finish_cancelled(id, t)
      return STORED
    end
    record_attempt(id, t, item[11], false, false)
    local longest, signals = now + LONGEST_WAIT_S, suspended[2]
    local at = math.min(math.max(suspended[1] or longest, now), longest)
    if signals and (t.ps or 0) > signals then
      at = now
    end
    for _, request_id in ipairs(suspended[3]) do
      local known = call('GET', key('q', request_id))
      local child = known and load(string.sub(known, DIGEST_BYTES + 1))
      if not child or child.s >= SUCCEEDED then
        at = now
      end
    end
    -- The attempt that a signal wakes, or the end of a call: no later one.
    t.at, t.w, t.wc, t.wn = at, signals and t.a or nil, nil, nil
    if #suspended[3] > 0 then
      t.wc, t.wn = t.a, suspended[3]
    end
    leave(id, t)
    enter(id, t, at > now and SCHEDULED or QUEUED)
    arm(id, t)
    tell(id, t)
    return RETRYING
  end
  -- As attempt_event of task_figures.py.
  note(item[8] and EVENT_ATTEMPT_CRASHED or item[5] == OK and EVENT_ATTEMPT_SUCCEEDED
    or item[5] == CODE_CANCELLED and EVENT_ATTEMPT_CANCELLED
    or item[5] == DEADLINE_EXCEEDED and EVENT_ATTEMPT_TIMED_OUT or EVENT_ATTEMPT_FAILED, t.q)
  if item[8] then
    return end_crashed(id, t, item[11]) and STORED or RETRYING
  end
  local code, named, outcome = item[5], nil, item[6]
  if code ~= OK then
    t.f = (t.f or 0) + 1
  end
  local close = close_at(t)
  if code == DEADLINE_EXCEEDED and close and close <= now then
    -- The agent knows when the attempt had to end, but not by which limit.
    named, outcome = limit_name('schedule_to_close', t), nil
  end
  if change then
    keyed_states().change(t.ks, before, change, id)
  end
  local done = end_reported(id, t, code, item[9], item[10], item[7] or nil, named, outcome, item[11])
  return done and STORED or RETRYING
end

local results = {}
for index, item in ipairs(request) do
  results[index] = report(item)
end
return reply(results)
