-- What every script begins with: its arguments, the record of a task, and the moves of a task's life.
--
-- The rules are those of weft.coordinator.store.rules; the conformance suite and the state machine compare them with it.
-- Key names and the fields of a record are documented in keys.py. All keys share the hash tag of KEYS[1].
--
-- KEYS[1]  the prefix of every key
-- ARGV[1]  now, seconds since the epoch; negative: Redis' own clock (tests give their own)
-- ARGV[2]  number of the coordinator that calls
-- ARGV[3]  the request, msgpack
-- reply    msgpack {result, changed tasks {id, record}…, ready depths of touched queues {queue, count}…,
--          unfinished tasks, whether something became ready, revoked attempts, when time will change something of what
--          this script changed or false}

local P = KEYS[1]
local call = redis.call
local request = cmsgpack.unpack(ARGV[3])
local now = tonumber(ARGV[1])
if now < 0 then
  local time = call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4, 5, 6
-- google.rpc.Code
local OK, CODE_CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNIMPLEMENTED = 0, 1, 3, 4, 12
-- An agent enforces limits itself; the store steps in so much later.
local BACKSTOP_S = 1.0
-- Attempts that one script takes back at the most: others wait while it runs.
local PORTION = 250
local HIGHEST_PRIORITY = 9

local touched, changed, revoked, woke, soonest = {}, {}, {}, false, false

local function key(kind, id)
  return P .. ':' .. kind .. ':' .. id
end

local function all(kind)
  return P .. ':' .. kind
end

local function load(id)
  local raw = call('GET', key('t', id))
  return raw and cmsgpack.unpack(raw) or nil
end

local function save(id, t)
  call('SET', key('t', id), cmsgpack.pack(t))
end

-- Changed its state: save it and remember to tell.
local function tell(id, t)
  local raw = cmsgpack.pack(t)
  call('SET', key('t', id), raw)
  changed[#changed + 1] = {id, raw}
end

-- Somebody has to sweep at this time: the coordinator that calls.
local function due_at(at)
  soonest = soonest and math.min(soonest, at) or at
end

local function reply(result)
  local depths = {}
  for queue in pairs(touched) do
    local count = call('ZCARD', key('ready', queue))
    depths[#depths + 1] = {queue, count}
    if count > 0 then
      call('ZADD', all('moved'), call('INCR', all('moves')), queue)
    else
      call('ZREM', all('moved'), queue)
    end
  end
  if #changed > 0 or #revoked > 0 or woke then
    local ids = {}
    for index, item in ipairs(changed) do
      ids[index] = item[1]
    end
    local event
    for _, other in ipairs(call('ZRANGE', all('live'), 0, -1)) do
      if other ~= ARGV[2] then
        event = event or cmsgpack.pack({ids, depths, revoked, woke})
        call('PUBLISH', key('events', other), event)
      end
    end
  end
  return cmsgpack.pack({result, changed, depths, tonumber(call('GET', all('unfinished')) or '0'), woke, revoked, soonest})
end

-- -- terms and times -----------------------------------------------------------------------------------------------

local DEFAULTS = {5, 0.1, 30.0, 2.0, {14}, 3}
local terms_of = {}

-- What a task was submitted with, defaults filled in: retry policy, start_to_close, TTLs.
local function terms(t)
  local text = t.x or ''
  local found = terms_of[text]
  if not found then
    local given = t.x and cjson.decode(t.x) or {}
    local retry = given.retry or DEFAULTS
    local codes = {}
    for _, code in ipairs(retry[5]) do
      codes[code] = true
    end
    found = {
      max_attempts = retry[1], initial_s = retry[2], most_s = retry[3], multiplier = retry[4], codes = codes,
      max_crashes = retry[6], start_to_close_s = given.start_to_close_s,
      result_ttl_s = given.result_ttl_s or 3600.0, failure_ttl_s = given.failure_ttl_s or 604800.0,
      request_id_ttl_s = given.request_id_ttl_s or 86400.0,
    }
    terms_of[text] = found
  end
  return found
end

local function close_at(t)
  return t.sc and (t.ra or t.c) + t.sc
end

local function start_by(t)
  return t.ss and (t.ra or t.c + (t.d or 0)) + t.ss
end

-- When the running attempt must have ended.
local function deadline_at(t)
  local close, own_s = close_at(t), terms(t).start_to_close_s
  if not own_s then
    return close
  end
  local own = t.st + own_s
  return close and math.min(own, close) or own
end

local function nearer(a, b)
  return a and b and math.min(a, b) or a or b
end

local function next_due_at(t)
  if t.s == RUNNING then
    local deadline = deadline_at(t)
    return nearer(deadline and deadline + BACKSTOP_S, t.ce)
  end
  local due = nearer(t.s == SCHEDULED and t.at or nil, close_at(t))
  if t.a == (t.fa or 0) then
    due = nearer(due, start_by(t))
  end
  return due
end

-- Make sure that the task is in `timers` at its next due time, and nowhere else.
local function arm(id, t)
  local due = t.s < SUCCEEDED and next_due_at(t) or nil
  if due ~= t.due then
    if due then
      call('ZADD', all('timers'), string.format('%.17g', due), id)
      due_at(due)
    else
      call('ZREM', all('timers'), id)
    end
    t.due = due
  end
end

-- -- moves ----------------------------------------------------------------------------------------------------------

local function count(kind, queue, by)
  if call('HINCRBY', all(kind), queue, by) == 0 then
    call('HDEL', all(kind), queue)
  end
end

-- A queue's method, and what its name has about requirements but for the agent that is avoided: nil where nothing is required.
local function required(queue)
  local method, text = string.match(queue, '^([^\n]*)\n?(.*)$')
  text = string.gsub(text, '^%[%[%["","[^"]*"%],?', '[[')
  if text == '' or text == '[[],[]]' then
    return method, nil
  end
  return method, method .. '\n' .. text
end

-- Count an unfinished task in its queue, or out of it; and how many different requirements those of its method have.
local function tally(queue, by)
  count('queues', queue, by)
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

local function leave(id, t)
  touched[t.q] = true
  if t.s == QUEUED then
    call('ZREM', key('ready', t.q), id)
  elseif t.s == SCHEDULED then
    count('scheduled', t.q, -1)
  elseif t.s == RUNNING then
    count('running', t.q, -1)
    call('SREM', key('held', session(t.oa, t.oe)), id)
  end
end

local function enter(id, t, state)
  touched[t.q] = true
  t.s = state
  if state == QUEUED then
    call('ZADD', key('ready', t.q), HIGHEST_PRIORITY - t.p, id)
    woke = true
  elseif state == SCHEDULED then
    count('scheduled', t.q, 1)
  elseif state == RUNNING then
    count('running', t.q, 1)
    call('SADD', key('held', session(t.oa, t.oe)), id)
  end
end

-- Take an unfinished task in.
local function place(id, t, state)
  tally(t.q, 1)
  call('INCR', all('unfinished'))
  enter(id, t, state)
  arm(id, t)
end

-- Keep what an attempt came to. `said`: an outcome that the store gives itself, by name; `outcome`: one that was reported.
local function keep(id, t, said, outcome)
  if outcome then
    call('SET', key('o', id), outcome)
  elseif t.o then
    call('DEL', key('o', id))
  end
  t.e, t.o = said, outcome and #outcome or nil
end

-- Attempts that are told of one task (history.py).
local MAX_ATTEMPTS = 16

-- Keep an attempt that is over and does not end the task by itself: the first one, and the newest.
local function remember(id, t, attempt)
  local raw = t.h and call('GET', key('h', id))
  local past = raw and cmsgpack.unpack(raw) or {}
  if #past >= MAX_ATTEMPTS then
    table.remove(past, 2)
  end
  past[#past + 1] = attempt
  local packed = cmsgpack.pack(past)
  call('SET', key('h', id), packed)
  t.h = #packed
end

-- As `remember`, of the running attempt. `what`: its trimmed outcome, or the name of one that the store gave; or false.
local function attempt_over(id, t, what, crashed, released)
  remember(id, t, {t.a, t.oa, t.st, now, what or false, crashed, released})
end

-- To a terminal state, with an outcome as in `keep`.
local function finish(id, t, state, said, outcome)
  t.b = t.s
  leave(id, t)
  enter(id, t, state)
  tally(t.q, -1)
  call('DECR', all('unfinished'))
  arm(id, t)
  t.fi = now
  t.ex = now + (state == FAILED and terms(t).failure_ttl_s or terms(t).result_ttl_s)
  t.cr, t.cg, t.ce = nil, nil, nil
  keep(id, t, said, outcome)
  call('ZADD', all('expiry'), string.format('%.17g', t.ex), id)
  due_at(t.ex)
  tell(id, t)
end

local function finish_cancelled(id, t)
  finish(id, t, CANCELLED, 'cancelled:' .. (t.cr or ''))
end

-- The queue of those tasks of this queue that another agent than this should try. See keys.py for names.
local function avoiding(queue, agent)
  local method, text = string.match(queue, '^([^\n]*)\n?(.*)$')
  -- What follows the opening of the labels.
  local rest = string.sub(text == '' and '[[],[]]' or text, 3)
  rest = string.gsub(rest, '^%["","[^"]*"%],?', '')
  local more = string.sub(rest, 1, 1) == '[' and ',' or ''
  return method .. '\n[[["","' .. agent .. '"]' .. more .. rest
end

-- RUNNING to QUEUED or SCHEDULED after an attempt that counts. Another agent should make the next one.
local function again(id, t, ready_at)
  t.at = ready_at
  leave(id, t)
  tally(t.q, -1)
  t.q = avoiding(t.q, t.oa)
  tally(t.q, 1)
  enter(id, t, ready_at > now and SCHEDULED or QUEUED)
  arm(id, t)
  tell(id, t)
end

-- RUNNING to QUEUED at no cost: the attempt never was.
local function give_back(id, t)
  if t.ce then
    finish_cancelled(id, t)
    return
  end
  leave(id, t)
  t.a, t.st = t.a - 1, nil
  enter(id, t, QUEUED)
  arm(id, t)
  tell(id, t)
end

local function revoke(agent, epoch, id, attempt, reason, grace_s, lost)
  revoked[#revoked + 1] = {agent, epoch, id, attempt, reason, grace_s, lost}
end

-- What a report came to: true when the task has its outcome, false when it will be tried again.
local function crashed(id, t, brief)
  attempt_over(id, t, brief, true, false)
  t.k = (t.k or 0) + 1
  if t.ce then
    finish_cancelled(id, t)
  elseif t.k > terms(t).max_crashes then
    finish(id, t, FAILED, 'crash_loop:' .. t.k)
  else
    again(id, t, now)
    return false
  end
  return true
end

-- The attempt was lost with its agent.
local function crash(id, t)
  t.rp = nil
  return crashed(id, t)
end

-- The end of an attempt that ran, by its code: as rules.end_after_report. `outcome` or `said` as in `finish`; `brief`: the
-- outcome, trimmed.
local function failed_or_done(id, t, code, final, draw, least_s, said, outcome, brief)
  if code == OK then
    finish(id, t, SUCCEEDED, said, outcome)
    return true
  end
  local policy = terms(t)
  local failures = t.f or 0
  if code == CODE_CANCELLED then
    finish(id, t, t.ce and CANCELLED or FAILED, said, outcome)
    return true
  end
  local hopeless = final or code == INVALID_ARGUMENT or code == UNIMPLEMENTED
  if hopeless or not policy.codes[code] or failures >= policy.max_attempts then
    finish(id, t, FAILED, said, outcome)
    return true
  end
  if t.ce then
    finish_cancelled(id, t)
    return true
  end
  local growth = policy.multiplier ^ math.min(failures - 1, 64)
  local wait_s = draw * math.min(policy.most_s, policy.initial_s * growth)
  if least_s then
    wait_s = math.max(wait_s, least_s)
  end
  local close = close_at(t)
  if close and now + wait_s >= close then
    -- There is no time for another attempt: what this one said is the outcome.
    finish(id, t, FAILED, said, outcome)
    return true
  end
  keep(id, t, said, outcome)
  attempt_over(id, t, said or brief, false, false)
  again(id, t, now + wait_s)
  return false
end

-- Do what time has brought for one task. False: nothing but a promotion was due.
local function expire(id, t, draw)
  local close = close_at(t)
  if t.s == RUNNING then
    local agent, epoch, attempt = t.oa, t.oe, t.a
    if t.ce and t.ce <= now then
      finish_cancelled(id, t)
    elseif close and close <= now then
      finish(id, t, FAILED, 'time_limit:schedule_to_close')
    else
      t.f = (t.f or 0) + 1
      failed_or_done(id, t, DEADLINE_EXCEEDED, false, draw, nil, 'time_limit:start_to_close')
    end
    revoke(agent, epoch, id, attempt, 'its time was over', 0, true)
    return true
  end
  if close and close <= now then
    finish(id, t, FAILED, 'time_limit:schedule_to_close')
    return true
  end
  local start = start_by(t)
  if start and start <= now and t.a == (t.fa or 0) then
    finish(id, t, FAILED, 'time_limit:schedule_to_start')
    return true
  end
  if t.s == SCHEDULED and t.at <= now then
    leave(id, t)
    enter(id, t, QUEUED)
    arm(id, t)
    tell(id, t)
  end
  return false
end

-- -- owners ---------------------------------------------------------------------------------------------------------

-- An agent has changed: coordinators read it again.
local function agent_changed(agent)
  call('ZADD', all('changes'), call('INCR', all('fleet')), agent)
  woke = true
end

local function leased(agent, epoch)
  return call('ZSCORE', all('owners'), session(agent, epoch)) ~= false
end

-- The running task whose current attempt this is, if it is the owner's.
local function held(agent, epoch, id, attempt)
  local t = load(id)
  if t and t.s == RUNNING and t.a == attempt and t.oa == agent and t.oe == epoch then
    return t
  end
end

-- Forget a lease: what it held is to be taken back, as crashes or as if it had never been.
local function drop(agent, epoch, as_crashes)
  local name = session(agent, epoch)
  call('ZREM', all('owners'), name)
  call('HDEL', key('sessions', agent), string.format('%d', epoch))
  call('ZADD', all('leaving'), as_crashes and 1 or 0, name)
  due_at(now)
end

-- Take back what sessions held that are over, so many attempts at the most: says how many. A sweep takes the rest.
local function take_back(limit)
  local taken = 0
  while taken < limit do
    local first = call('ZRANGE', all('leaving'), 0, 0, 'WITHSCORES')
    if not first[1] then
      break
    end
    local name, back = first[1], tonumber(first[2]) == 1 and crash or give_back
    local ids = call('SRANDMEMBER', key('held', name), limit - taken)
    table.sort(ids)
    for _, id in ipairs(ids) do
      back(id, load(id))
    end
    taken = taken + #ids
    if call('EXISTS', key('held', name)) == 0 then
      call('ZREM', all('leaving'), name)
    end
  end
  return taken
end

-- This session is over, by a goodbye or not; a later one may not be.
local function ended(agent, epoch, goodbye)
  local raw = call('HGET', all('agents'), agent)
  local known = raw and cmsgpack.unpack(raw)
  if known and known.c and known.e == epoch then
    known.c, known.l = false, goodbye or nil
    call('HSET', all('agents'), agent, cmsgpack.pack(known))
    call('HDEL', all('views'), agent)
    agent_changed(agent)
  end
end
