-- Apply all changes that are due: ended leases, passed limits, ended delays, expired tasks.
--
-- request  {limit, {sample…}, grace, {queue = what its ready tasks wait for}}: those of other queues are left
-- reads    owners, leaving, timers, expiry, gates, group_looks, swept, limited, fair, cancels, cancelling
-- writes   swept
-- result   {promoted, expired, reclaimed, forgotten, {{agent, epoch}…} lost, when the next thing is due or false,
--           {{queue, whether its method is paused}…}: queues of ready tasks whose limit has passed, and which were left}

local limit, samples, texts = request[1], request[2], request[4]
local left = {}
-- Coordinators sweep many times a second. If none has swept for so long, none could renew a lease either.
local AWAY_S = 1.5
local NOTED_S = 0.25
local until_now = score(now)
local promoted, expired, reclaimed, forgotten, lost = 0, 0, 0, 0, {}

-- Redis or all coordinators were away: agents get time to come back with their attempts.
local known = call('MGET', all('swept'), all('limited'), all('fair'), all('cancels'))
local last = tonumber(known[1] or '0')
limited, fair = known[2] ~= false, known[3] ~= false
if now - last > AWAY_S then
  local grace_at = score(now + request[3])
  for _, name in ipairs(call('ZRANGEBYSCORE', all('owners'), '-inf', grace_at)) do
    call('ZADD', all('owners'), grace_at, name)
  end
end
if now - last > NOTED_S then
  call('SET', all('swept'), score(now))
end

for _, name in ipairs(call('ZRANGEBYSCORE', all('owners'), '-inf', until_now, 'LIMIT', 0, limit)) do
  local epoch, agent = string.match(name, '^(%d+)#(.*)$')
  epoch = tonumber(epoch)
  drop(agent, epoch, true)
  ended(agent, epoch, false)
  lost[#lost + 1] = {agent, epoch}
end
reclaimed = reclaim(limit)

for index, id in ipairs(call('ZRANGEBYSCORE', all('timers'), '-inf', until_now, 'LIMIT', 0, limit)) do
  local t = load(id)
  local done = expire(id, t, samples[(index - 1) % #samples + 1], texts)
  if done then
    expired = expired + 1
  elseif done == nil then
    left[t.q] = true
  else
    promoted = promoted + 1
  end
end

local calls_left = known[4] and cancel_calls()

-- Whether a task is remembered for a parent that is unfinished.
local function is_needed(t)
  local parent = caller_of(t)
  local p = parent and load(parent)
  return p and p.s < SUCCEEDED
end

-- Forget an expired task, or the most of it.
local function forget(id)
  local t = load(id)
  if is_needed(t) then
    t.ex = now + CHILD_KEPT_S
    call('ZADD', all('expiry'), score(t.ex), id)
    save(id, t)
    return
  end
  if t.pn then
    call('DEL', key('steps', id), key('step_names', id))
    t.pn = nil
  end
  local kept_until = t.r and not t.z and t.c + option(t, REQUEST_ID_TTL_S)
  call('DEL', key('b', id), key('o', id), key('p', id), key('s', id), key('h', id))
  if kept_until and kept_until > now then
    -- Its request id must still be remembered: only the large values go.
    t.z, t.o, t.e, t.h, t.ex = true, nil, nil, nil, kept_until
    call('ZADD', all('expiry'), score(kept_until), id)
    save(id, t)
  else
    if t.gr then
      open_groups().forget(id, t)
    end
    call('DEL', key('t', id))
    if t.r then
      call('DEL', key('q', t.r))
    end
    call('ZREM', all('all'), id)
    call('ZREM', all('expiry'), id)
  end
end

for _, id in ipairs(call('ZRANGEBYSCORE', all('expiry'), '-inf', until_now, 'LIMIT', 0, limit)) do
  forget(id)
  forgotten = forgotten + 1
end

if limited then
  open_gates().look(limit)
end
if call('EXISTS', all('group_looks')) == 1 then
  open_groups().look_due(limit)
end

local next_at = (calls_left or call('EXISTS', all('leaving')) == 1) and now or nil
local kinds = {'owners', 'timers', 'expiry', limited and 'gates' or nil}
kinds[#kinds + 1] = groups and 'group_looks' or nil
for _, kind in ipairs(kinds) do
  local first = call('ZRANGE', all(kind), 0, 0, 'WITHSCORES')
  next_at = nearer(next_at, first[2] and tonumber(first[2]))
end
local asked = {}
for queue in pairs(left) do
  asked[#asked + 1] = {queue, call('SISMEMBER', all('paused'), (string.match(queue, '^[^\n]*'))) == 1}
end
return reply({promoted, expired, reclaimed, forgotten, lost, next_at or false, asked})
