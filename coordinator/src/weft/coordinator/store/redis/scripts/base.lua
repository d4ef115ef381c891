-- The first part of every script: its arguments, keys and records, and the reply. moves.lua and sessions.lua follow, then
-- the script's own file. Key names and the fields of a record are documented in redis_keys.py. All keys share the hash tag
-- of KEYS[1]. Constants in capitals come from Python (lua_constants.py).
--
-- KEYS[1]  the prefix of every key
-- ARGV[1]  now, seconds since the epoch; negative: Redis' own clock (tests give their own)
-- ARGV[2]  number of the calling coordinator
-- ARGV[3]  the request, msgpack
-- reply    msgpack {result, changed tasks {id, record}…, ready depths of touched queues {queue, count}…, unfinished tasks,
--          whether something became ready, revoked attempts, when time will change something that this script changed or
--          false, {method = {event = times}} or false, kinds of changed rows if any have changed}

local P = KEYS[1]
local call = redis.call
local request = cmsgpack.unpack(ARGV[3])
local now = tonumber(ARGV[1])
if now < 0 then
  local time = call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local touched, changed, revoked, woke, soonest = {}, {}, {}, false, false
-- What a script adds to the counts of tasks, by queue or submitter, and to that of all unfinished ones: written once, by `reply`.
local sums, unfinished = {queues = {}, scheduled = {}, running = {}, submitted = {}}, 0
-- What happened to tasks, by method and TaskEvent (task_figures.py).
local noted = false
-- Kinds of changed rows, for the event; false: none.
local row_kinds = false
-- Whether there are run limits, whether some queue has fairness keys; nil: not read. Then what fairness.lua, gates.lua and groups.lua
-- hold, if this script needed them.
local limited, fair, tags, gates, groups
local open_tags, open_gates, open_groups, is_limited

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

-- Save a task whose state has changed, and report the change.
local function tell(id, t)
  local raw = cmsgpack.pack(t)
  call('SET', key('t', id), raw)
  changed[#changed + 1] = {id, raw}
end

-- Count an event of a task, by its queue.
local function note(event, queue)
  local method = string.match(queue, '^[^\n]*')
  noted = noted or {}
  local counts = noted[method]
  if not counts then
    counts = {}
    noted[method] = counts
  end
  counts[event] = (counts[event] or 0) + 1
end

-- Report an attempt that its owner must end.
local function revoke(agent, epoch, id, attempt, reason, grace_s, lost)
  revoked[#revoked + 1] = {agent, epoch, id, attempt, reason, grace_s, lost}
end

-- The calling coordinator must sweep at this time.
local function due_at(at)
  soonest = soonest and math.min(soonest, at) or at
end

-- A time as a score that loses nothing.
local function score(at)
  return string.format('%.17g', at)
end

local function nearer(a, b)
  return a and b and math.min(a, b) or a or b
end

local function count(kind, queue, by)
  if call('HINCRBY', all(kind), queue, by) == 0 then
    call('HDEL', all(kind), queue)
  end
end

-- A change of rows of a kind, or of something else that is told like that: its revision. First among the writes: without memory, Redis
-- refuses this one.
local function next_revision(kind)
  local revision = call('INCR', all('row_revision'))
  call('ZADD', all('row_kinds'), revision, kind)
  row_kinds = row_kinds or {}
  if row_kinds[#row_kinds] ~= kind then
    row_kinds[#row_kinds + 1] = kind
  end
  return revision
end

-- Count tasks of a queue at the end of the script: they may come by the hundred. Nothing reads these counts before.
local function add(kind, queue, by)
  local of = sums[kind]
  of[queue] = (of[queue] or 0) + by
end

-- Write the sums; returns the number of unfinished tasks.
local function flush_sums()
  for kind, of in pairs(sums) do
    for queue, by in pairs(of) do
      if by ~= 0 then
        count(kind, queue, by)
      end
    end
  end
  if unfinished ~= 0 then
    return call('INCRBY', all('unfinished'), unfinished)
  end
  return tonumber(call('GET', all('unfinished')) or '0')
end

-- Write the sums, record the new depths of touched queues, publish the changes to the other coordinators, and pack the reply.
local function reply(result)
  local total, depths = flush_sums(), {}
  for queue in pairs(touched) do
    local count = call('ZCARD', key('ready', queue))
    depths[#depths + 1] = {queue, count}
    if count > 0 then
      call('ZADD', all('moved'), call('INCR', all('moves')), queue)
    else
      call('ZREM', all('moved'), queue)
      if tags or fair then
        open_tags().emptied(queue)
      end
    end
  end
  if tags then
    tags.flush()
  end
  if gates then
    gates.flush()
  end
  if groups then
    groups.flush()
  end
  if #changed > 0 or #revoked > 0 or woke or row_kinds then
    local ids = {}
    for index, item in ipairs(changed) do
      ids[index] = item[1]
    end
    local event
    for _, other in ipairs(call('ZRANGE', all('live'), 0, -1)) do
      if other ~= ARGV[2] then
        event = event or cmsgpack.pack({ids, depths, revoked, woke, row_kinds or nil})
        call('PUBLISH', key('events', other), event)
      end
    end
  end
  return cmsgpack.pack({result, changed, depths, total, woke, revoked, soonest, noted, row_kinds or nil})
end
