-- The moves of a task's life. The rules are those of rules.py; the conformance suite and the state machine compare them.

-- A queue's method, and its name without an avoided agent; nil instead of the name if nothing is required.
local function required(queue)
  if not string.find(queue, '\n', 1, true) then
    return queue, nil
  end
  local method, text = string.match(queue, '^([^\n]*)\n(.*)$')
  text = string.gsub(text, '^%[%[%["","[^"]*"%],?', '[[')
  if text == '' or text == '[[],[]]' then
    return method, nil
  end
  return method, method .. '\n' .. text
end

-- A queue's ready tasks for `look`: {queue, count}, and of a long queue {those of each rank}, up to the last rank that has some.
local function depth_of(queue)
  local ready, counts, rank = key('ready', queue), {}, 0
  local queued = call('ZCARD', ready)
  local left = queued
  if queued < LONG_QUEUE then
    return {queue, queued}
  end
  while left > 0 and rank <= HIGHEST_PRIORITY do
    local count = call('ZCOUNT', ready, rank, '(' .. rank + 1)
    rank, left = rank + 1, left - count
    counts[rank] = count
  end
  return {queue, queued, counts}
end

-- Count an unfinished task into its queue or out of it, and the different requirements of its method.
local function tally(queue, by)
  add('queues', queue, by)
  local method, set = required(queue)
  if set then
    local left = call('HINCRBY', all('sets'), set, by)
    if left == 0 then
      call('HDEL', all('sets'), set)
    end
    if left == 0 or (left == 1 and by == 1) then
      count('widths', method, by)
    end
  end
end

local function session(agent, epoch)
  return string.format('%d#%s', epoch, agent)
end

-- `unstarted`: the running attempt is as if it had never been.
local function leave(id, t, unstarted)
  touched[t.q] = true
  if t.s == QUEUED then
    if not t.pk then
      call('ZREM', key('ready', t.q), id)
    end
    if t.pk or t.rt then
      open_gates().leave(id, t)
    end
    -- `reply` forgets the turns of an empty queue.
    fair = fair or t.fk ~= nil
  elseif t.s == SCHEDULED then
    add('scheduled', t.q, -1)
  elseif t.s == RUNNING then
    add('running', t.q, -1)
    call('SREM', key('held', session(t.oa, t.oe)), id)
    if t.tg then
      open_gates().release(id, t, unstarted)
    end
  end
end

-- `front`: ahead of what became ready before, within its priority.
local function enter(id, t, state, front)
  touched[t.q] = true
  if t.gr then
    open_groups().moved(t, t.s, state)
  end
  t.s = state
  if state == QUEUED then
    local rank = HIGHEST_PRIORITY - t.p
    if t.fk or fair then
      rank = front and open_tags().front(t) or open_tags().next(t)
    end
    call('ZADD', key('ready', t.q), rank, id)
    woke = true
  elseif state == SCHEDULED then
    add('scheduled', t.q, 1)
  elseif state == RUNNING then
    add('running', t.q, 1)
    call('SADD', key('held', session(t.oa, t.oe)), id)
  end
end

-- Id of the task whose handler has made this task as a remembered call (remembered.py). nil: it is no such call.
local function caller_of(t)
  return t.r and string.match(t.r, '^step:(%x+)/')
end

-- Add an unfinished task.
local function place(id, t, state)
  tally(t.q, 1)
  local parent = caller_of(t)
  if parent then
    call('ZADD', key('calls', parent), 0, id)
  end
  unfinished = unfinished + 1
  if t.by then
    add('submitted', t.by, 1)
  end
  enter(id, t, state)
  if is_limited() then
    open_gates().keep(id, t)
  end
  arm(id, t)
end

-- Store the outcome of an attempt. `named`: an outcome of the store's own, by name; `outcome`: a reported one.
local function keep(id, t, named, outcome)
  if outcome then
    call('SET', key('o', id), outcome)
  elseif t.o then
    call('DEL', key('o', id))
  end
  t.e, t.o = named, outcome and #outcome or nil
end

-- Add an attempt to the task's history: the first one and the newest are kept.
local function remember(id, t, attempt)
  local raw = t.h and call('GET', key('h', id))
  local past = raw and cmsgpack.unpack(raw) or {}
  if #past >= MAX_HISTORY then
    table.remove(past, 2)
  end
  past[#past + 1] = attempt
  local packed = cmsgpack.pack(past)
  call('SET', key('h', id), packed)
  t.h = #packed
end

-- Add the running attempt, which is over and does not end the task, to the history. `what`: its trimmed outcome, the
-- name of one of the store's own, or false.
local function record_attempt(id, t, what, crashed, released)
  remember(id, t, {t.a, t.oa, t.st, now, what or false, crashed, released})
end

-- Move to a terminal state, with an outcome as in `keep`.
local function finish(id, t, state, named, outcome)
  t.b = t.s
  note(END_OF_STATE + state, t.q)
  leave(id, t)
  enter(id, t, state)
  tally(t.q, -1)
  unfinished = unfinished - 1
  if t.by then
    add('submitted', t.by, -1)
  end
  if t.ug then
    open_gates().unkeep(id, t)
  end
  arm(id, t)
  t.fi = now
  t.ex = now + (state == FAILED and option(t, FAILURE_TTL_S) or option(t, RESULT_TTL_S))
  t.cr, t.cg, t.ce = nil, nil, nil
  keep(id, t, named, outcome)
  call('ZADD', all('expiry'), score(t.ex), id)
  due_at(t.ex)
  tell(id, t)
  -- A remembered call: its parent may wait for it. One that an earlier version has suspended does not say for which.
  local parent = caller_of(t)
  local p = parent and load(parent)
  if parent then
    call('ZREM', key('calls', parent), id)
  end
  local waits = false
  for _, each in ipairs(p and p.s == SCHEDULED and p.wc == p.a and (p.wn or {t.r}) or {}) do
    waits = waits or each == t.r
  end
  if waits then
    p.at, p.wn = now, nil
    leave(parent, p)
    enter(parent, p, QUEUED)
    arm(parent, p)
    tell(parent, p)
  end
end

local function finish_cancelled(id, t)
  finish(id, t, CANCELLED, 'cancelled:' .. (t.cr or ''))
end

-- Whether a task takes its turn at a lock, as run_limits.takes_turn.
local function takes_turn(t)
  for _, entry in ipairs(t.l or {}) do
    if string.sub(entry, 2, 1 + #TURN_LOCK) == TURN_LOCK then
      return true
    end
  end
  return false
end

-- The queue of a task's next attempt, which avoids the agent of the last one. redis_keys.py documents the name. A task that takes
-- its turn stays in its queue, in which it is the first one.
local function avoiding(t)
  if takes_turn(t) then
    return t.q
  end
  local agent, method, text = t.oa, string.match(t.q, '^([^\n]*)\n?(.*)$')
  -- What follows the opening of the labels.
  local rest = string.sub(text == '' and '[[],[]]' or text, 3)
  rest = string.gsub(rest, '^%["","[^"]*"%],?', '')
  local more = string.sub(rest, 1, 1) == '[' and ',' or ''
  return method .. '\n[[["","' .. agent .. '"]' .. more .. rest
end

-- RUNNING to QUEUED or SCHEDULED after an attempt that counts. Another agent should make the next attempt.
local function retry(id, t, at)
  t.at = at
  leave(id, t)
  tally(t.q, -1)
  t.q = avoiding(t)
  tally(t.q, 1)
  enter(id, t, at > now and SCHEDULED or QUEUED, takes_turn(t))
  arm(id, t)
  tell(id, t)
end

-- A task with alternatives would end as FAILED with this code: to QUEUED at the next one, as rules.falls_back. Failures and
-- crashes count anew. False: it ends. `named`, `outcome`: why, as in `keep`; `trimmed`: the attempt is over, its outcome for the
-- history; nil: it is there.
local function fall_back(id, t, code, named, outcome, trimmed)
  local at, close = (t.fo or 1) + 1, close_at(t)
  local given = t.fb[at]
  if not given or t.ce or close and close <= now or string.find(CALLERS_CODES, ',' .. code .. ',', 1, true) then
    return false
  end
  if trimmed ~= nil then
    record_attempt(id, t, trimmed, false, false)
  end
  keep(id, t, named, outcome)
  leave(id, t)
  if t.ug then
    open_gates().unkeep(id, t)
  end
  tally(t.q, -1)
  t.q, t.x, t.ss, t.g, t.l = given[1], given[2], given[3] or nil, given[4] or nil, given[5] or nil
  t.ks = given[6] or nil
  t.f, t.k, t.at, t.ff, t.fa, t.fo = nil, nil, now, now, t.a, at
  tally(t.q, 1)
  enter(id, t, QUEUED)
  if is_limited() then
    open_gates().keep(id, t)
  end
  arm(id, t)
  tell(id, t)
  return true
end

-- RUNNING to QUEUED at no cost, as if the attempt had never been.
local function release(id, t)
  if t.ce then
    finish_cancelled(id, t)
    return
  end
  leave(id, t, true)
  t.a, t.st = t.a - 1, nil
  enter(id, t, QUEUED, true)
  arm(id, t)
  tell(id, t)
end

-- The end of a crashed attempt. True: the task has its outcome. False: it will be retried.
local function end_crashed(id, t, trimmed)
  record_attempt(id, t, trimmed, true, false)
  t.k = (t.k or 0) + 1
  if t.ce then
    finish_cancelled(id, t)
  elseif t.k > option(t, MAX_CRASHES) then
    local named = 'crash_loop:' .. t.k
    if t.fb and fall_back(id, t, ABORTED, named) then
      return false
    end
    finish(id, t, FAILED, named)
  else
    note(EVENT_RERUN, t.q)
    retry(id, t, now)
    return false
  end
  return true
end

-- The attempt was lost with its agent.
local function crash(id, t)
  t.rp = nil
  note(EVENT_ATTEMPT_LOST, t.q)
  return end_crashed(id, t)
end

-- The end of a task whose attempt failed, and is not retried: the same for the next alternative, if there is one.
local function fail(id, t, code, named, outcome, trimmed)
  if t.fb and fall_back(id, t, code, named, outcome, named or trimmed or false) then
    return false
  end
  finish(id, t, FAILED, named, outcome)
  return true
end

-- The end of an attempt by its code, as rules.end_after_report; the result as in `end_crashed`. `outcome` and `named` as in
-- `keep`; `trimmed`: the outcome for the history.
local function end_reported(id, t, code, final, sample, least_s, named, outcome, trimmed)
  if code == OK then
    finish(id, t, SUCCEEDED, named, outcome)
    return true
  end
  local failures = t.f or 0
  if code == CODE_CANCELLED then
    finish(id, t, t.ce and CANCELLED or FAILED, named, outcome)
    return true
  end
  local hopeless = final or FINAL_CODES[code]
  if hopeless or not retries(t, code) or failures >= option(t, MAX_ATTEMPTS) then
    return fail(id, t, code, named, outcome, trimmed)
  end
  if t.ce then
    finish_cancelled(id, t)
    return true
  end
  local growth = option(t, BACKOFF_MULTIPLIER) ^ math.min(failures - 1, MAX_GROWTH)
  local wait_s = sample * math.min(option(t, MAX_BACKOFF_S), option(t, INITIAL_BACKOFF_S) * growth)
  if least_s then
    wait_s = math.max(wait_s, least_s)
  end
  local close = close_at(t)
  if close and now + wait_s >= close then
    -- There is no time for another attempt: its outcome is the task's.
    return fail(id, t, code, named, outcome, trimmed)
  end
  keep(id, t, named, outcome)
  record_attempt(id, t, named or trimmed, false, false)
  note(EVENT_RETRIED, t.q)
  retry(id, t, now + wait_s)
  return false
end

-- Apply the limits of one task that have passed. False: nothing but a promotion was due.
-- `texts`: what ready tasks wait for, by queue. A ready task of another queue is not ended, and the result is nil. False: end
-- all, without words.
local function expire(id, t, sample, texts)
  local close = close_at(t)
  if t.s == RUNNING then
    local agent, epoch, attempt = t.oa, t.oe, t.a
    local cut_off = t.ce and t.ce <= now
    note(cut_off and EVENT_ATTEMPT_CANCELLED or EVENT_ATTEMPT_TIMED_OUT, t.q)
    if cut_off then
      finish_cancelled(id, t)
    elseif close and close <= now then
      finish(id, t, FAILED, limit_name('schedule_to_close', t))
    else
      t.f = (t.f or 0) + 1
      end_reported(id, t, DEADLINE_EXCEEDED, false, sample, nil, limit_name('start_to_close', t))
    end
    revoke(agent, epoch, id, attempt, 'its time was over', 0, true)
    return true
  end
  local start = t.a == (t.fa or 0) and start_by(t)
  local passed = close and close <= now and 'schedule_to_close' or start and start <= now and 'schedule_to_start'
  if passed then
    if t.s == QUEUED and not t.pk and texts and not texts[t.q] then
      return nil
    end
    local named = limit_name(passed, t, texts and texts[t.q] or '')
    if not (t.fb and passed == 'schedule_to_start' and fall_back(id, t, DEADLINE_EXCEEDED, named)) then
      finish(id, t, FAILED, named)
    end
    return true
  end
  if t.s == SCHEDULED and ready_at(t) <= now then
    leave(id, t)
    enter(id, t, QUEUED)
    arm(id, t)
    tell(id, t)
  end
  return false
end
