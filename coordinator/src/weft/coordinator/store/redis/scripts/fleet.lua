-- The scripts of the fleet, one function each: sessions and agents, contracts, coordinators, queues. A script is this file
-- and a call of its function, whose result is the reply's.

-- -- sessions -------------------------------------------------------------------------------------------------------

-- Open a session for an agent: a new epoch, with a lease. Not while another process has an open session.
--
-- request  {agent, instance, description, lease}
-- reads    agents, owners
-- writes   epochs, owners, sessions:<agent>, agents, about, changes, gone
-- result   the epoch; false: the agent's id is in use
local function register()
  local agent, instance = request[1], request[2]
  local raw = call('HGET', all('agents'), agent)
  local last = raw and cmsgpack.unpack(raw)
  if last and last.o and last.i ~= instance then
    -- A session that a dead coordinator left open ends with its lease.
    local ends_at = call('ZSCORE', all('owners'), session(agent, last.e))
    if ends_at and tonumber(ends_at) > now then
      return false
    end
  end
  local epoch = call('INCR', all('epochs'))
  call('HSET', all('agents'), agent, cmsgpack.pack({i = instance, e = epoch, c = true, o = true}))
  call('HSET', all('about'), agent, request[3])
  call('ZADD', all('owners'), score(now + request[4]), session(agent, epoch))
  due_at(now + request[4])
  call('HSET', key('sessions', agent), string.format('%d', epoch), instance)
  call('ZREM', all('gone'), agent)
  agent_changed(agent)
  return epoch
end

-- Let leases end so many seconds from now.
--
-- request  {lease, {{agent, epoch}…}}
-- result   for each: whether the owner is known
local function renew()
  -- Arguments of one command.
  local MOST = 1000
  local ends_at = score(now + request[1])
  local results = {}
  if #request[2] > 0 then
    due_at(now + request[1])
  end
  for from = 1, #request[2], MOST do
    local names, scores = {}, {}
    for at = from, math.min(from + MOST - 1, #request[2]) do
      names[#names + 1] = session(request[2][at][1], request[2][at][2])
      scores[#scores + 1] = ends_at
      scores[#scores + 1] = names[#names]
    end
    for _, known in ipairs(call('ZMSCORE', all('owners'), unpack(names))) do
      results[#results + 1] = known ~= false
    end
    call('ZADD', all('owners'), 'XX', unpack(scores))
  end
  return results
end

-- A session's stream has ended: its lease ends so many seconds from now, and another process may open a session.
--
-- request  {agent, epoch, lease}
-- writes   owners, agents, views
-- result   nothing
local function detach()
  local agent, epoch = request[1], request[2]
  if leased(agent, epoch) then
    call('ZADD', all('owners'), score(now + request[3]), session(agent, epoch))
    due_at(now + request[3])
  end
  local raw = call('HGET', all('agents'), agent)
  local last = raw and cmsgpack.unpack(raw)
  if last and last.e == epoch and last.o then
    last.o = nil
    call('HSET', all('agents'), agent, cmsgpack.pack(last))
    -- Its coordinator's view of it does not hold any more.
    call('HDEL', all('views'), agent)
    agent_changed(agent)
  end
  return false
end

-- The agent left: end its lease, and reclaim its attempts as crashes; a sweep reclaims what exceeds one portion.
--
-- request  {agent, epoch}
-- result   nothing
local function retire()
  local agent, epoch = request[1], request[2]
  if leased(agent, epoch) then
    drop(agent, epoch, true)
    reclaim(RECLAIM_ATTEMPTS)
  end
  ended(agent, epoch, true)
  return false
end

-- -- agents ---------------------------------------------------------------------------------------------------------

-- Read agents that have changed since a version of the fleet, some at a time, and others by name.
--
-- request  {version, most agents, whether this goes on with a reading of all, {agent…}}
-- reads    fleet, floor, changes, agents, about, desired, views, owners
-- result   {version up to which these are all, whether all are read anew, whether there are more,
--          {{agent, last session or false, description, desired state or false, view or false}…}}
local function agents()
  -- Bytes of one answer, about.
  local MOST_BYTES = 1048576
  local since, most, reading = request[1], request[2], request[3]
  local newest = tonumber(call('GET', all('fleet')) or '0')
  if not reading and (since < tonumber(call('GET', all('floor')) or '0') or since > newest) then
    -- Forgotten agents are not remembered for so long, or Redis has lost something.
    since, reading = 0, true
  end
  local found, size = {}, 0
  local function add(agent)
    local raw = call('HGET', all('agents'), agent)
    local item = {agent, raw, '', false, false}
    if raw then
      local last = cmsgpack.unpack(raw)
      local ends_at = last.o and call('ZSCORE', all('owners'), session(agent, last.e))
      item[3] = call('HGET', all('about'), agent) or ''
      item[4] = tonumber(call('HGET', all('desired'), agent)) or false
      -- Its coordinator's view of it holds while its lease does.
      item[5] = ends_at and tonumber(ends_at) > now and call('HGET', all('views'), agent) or false
      size = size + #item[3] + (item[5] and #item[5] or 0)
    end
    found[#found + 1] = item
  end
  for _, agent in ipairs(request[4]) do
    add(agent)
  end
  local changes = call('ZRANGEBYSCORE', all('changes'), '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  local more = false
  for at = 1, #changes, 2 do
    if size > MOST_BYTES then
      more = true
      break
    end
    add(changes[at])
    since = tonumber(changes[at + 1])
  end
  more = more or #changes == 2 * most
  return {more and since or newest, reading, more, found}
end

-- Publish this coordinator's views of its agents, and for some seconds their loads.
--
-- request  {{{agent, epoch, view}…}, seconds, {{agent, load}…}}
-- reads    agents
-- writes   views, load:<agent>
-- result   nothing
local function share()
  for _, item in ipairs(request[1]) do
    local raw = call('HGET', all('agents'), item[1])
    local last = raw and cmsgpack.unpack(raw)
    -- Its session may be over, or a newer one be open elsewhere.
    if last and last.o and last.e == item[2] then
      call('HSET', all('views'), item[1], item[3])
      agent_changed(item[1])
    end
  end
  for _, item in ipairs(request[3]) do
    call('SET', key('load', item[1]), item[2], 'PX', request[2] * 1000)
  end
  return false
end

-- Store the desired state of an agent.
--
-- request  {agent, desired state}
-- result   whether the agent is known
local function set_desired()
  if call('HEXISTS', all('agents'), request[1]) == 0 then
    return false
  end
  call('HSET', all('desired'), request[1], request[2])
  agent_changed(request[1])
  return true
end

-- Forget an agent that is not connected. `gone` remembers the last of the forgotten agents.
--
-- request  {agent}
-- writes   agents, about, desired, views, changes, gone, floor
-- result   nothing
local function forget_agent()
  local MOST_GONE = 10000
  local agent = request[1]
  local raw = call('HGET', all('agents'), agent)
  if raw and not cmsgpack.unpack(raw).c then
    for _, kind in ipairs({'agents', 'about', 'desired', 'views'}) do
      call('HDEL', all(kind), agent)
    end
    agent_changed(agent)
    call('ZADD', all('gone'), call('ZSCORE', all('changes'), agent), agent)
    if call('ZCARD', all('gone')) > MOST_GONE then
      local oldest = call('ZPOPMIN', all('gone'))
      call('ZREM', all('changes'), oldest[1])
      call('SET', all('floor'), oldest[2])
    end
  end
  return false
end

-- -- contracts ------------------------------------------------------------------------------------------------------

-- Store a contract and put it in force for these methods.
--
-- request  {digest, descriptor set, {method…}}
-- writes   contracts, order, hosted, catalogue
-- result   nothing
local function put_contract()
  if call('HSETNX', all('contracts'), request[1], request[2]) == 1 then
    call('RPUSH', all('order'), request[1])
  end
  for _, method in ipairs(request[3]) do
    call('HSET', all('hosted'), method, request[1])
  end
  call('HDEL', all('unused'), request[1])
  call('INCR', all('catalogue'))
  woke = true
  return false
end

-- Read which contracts there are, and for which methods each is in force.
--
-- request  {known version of the catalogue}
-- reads    catalogue, order, hosted
-- result   false: the known version is the present one; {version, {digest…} oldest first, {method, digest…}}
local function catalogue()
  local version = tonumber(call('GET', all('catalogue')) or '0')
  if version == request[1] then
    return false
  end
  return {version, call('LRANGE', all('order'), 0, -1), call('HGETALL', all('hosted'))}
end

-- Forget contracts that no agent has had and no unfinished task has needed for so long.
--
-- request  {version of the fleet of the agents below, {digest…} that agents have, {method…} that they host, seconds}
-- reads    fleet, order, hosted, queues
-- writes   unused; contracts, order, hosted, catalogue
-- result   {digest…} of the forgotten ones; false: the fleet has changed
local function forget_contracts()
  if tonumber(call('GET', all('fleet')) or '0') ~= request[1] then
    return false
  end
  local needed, busy = {}, {}
  for _, digest in ipairs(request[2]) do
    needed[digest] = true
  end
  for _, method in ipairs(request[3]) do
    busy[method] = true
  end
  for _, queue in ipairs(call('HKEYS', all('queues'))) do
    busy[string.match(queue, '^[^\n]*')] = true
  end
  local methods_of, hosted = {}, call('HGETALL', all('hosted'))
  for at = 1, #hosted, 2 do
    local method, digest = hosted[at], hosted[at + 1]
    methods_of[digest] = methods_of[digest] or {}
    table.insert(methods_of[digest], method)
    needed[digest] = needed[digest] or busy[method]
  end
  local forgotten = {}
  for _, digest in ipairs(call('LRANGE', all('order'), 0, -1)) do
    if needed[digest] then
      call('HDEL', all('unused'), digest)
    else
      call('HSETNX', all('unused'), digest, score(now))
      if now - tonumber(call('HGET', all('unused'), digest)) >= request[4] then
        call('HDEL', all('contracts'), digest)
        call('HDEL', all('unused'), digest)
        call('LREM', all('order'), 0, digest)
        for _, method in ipairs(methods_of[digest] or {}) do
          call('HDEL', all('hosted'), method)
        end
        forgotten[#forgotten + 1] = digest
      end
    end
  end
  if #forgotten > 0 then
    call('INCR', all('catalogue'))
    woke = true
  end
  return forgotten
end

-- -- coordinators ---------------------------------------------------------------------------------------------------

-- A coordinator is there, and looks for changes that no event told. From now on other coordinators' scripts tell it.
--
-- request  {seconds for which this holds, known version of `pauses`, known revision of the queues, most queues, known revision
--          of rows, known version of the run limits}
-- reads    fleet, catalogue, rulings, limits, pauses, paused, moves, moved, ready:, row_revision, row_kinds
-- writes   live
-- result   {whether it was not there, and may have missed events; the time; versions of fleet, catalogue and run limits; version
--          of `pauses`; paused {method…}, or false: the known ones; methods with run limits, the same; revision; whether the
--          queues are told anew; whether there are more; {{queue, ready tasks, those by rank if they are many}…} of changed
--          queues with ready tasks; revision of rows; {kind…} of rows changed since the known one}
local function look()
  local known = call('ZSCORE', all('live'), ARGV[2])
  -- First: without memory, Redis refuses this write. After a removal in the same script it would allow it.
  call('ZADD', all('live'), score(now + request[1]), ARGV[2])
  call('ZREMRANGEBYSCORE', all('live'), '-inf', score(now))
  local names = {all('fleet'), all('catalogue'), all('rulings'), all('pauses'), all('moves'), all('row_revision')}
  local versions = call('MGET', unpack(names))
  for at = 1, #names do
    versions[at] = tonumber(versions[at] or '0')
  end
  local fleet, contracts, rulings, pauses, moves, rows = unpack(versions)
  local row_kinds_since = {}
  if rows ~= request[5] then
    -- A smaller revision: Redis has lost something.
    local since_row = rows < request[5] and '-inf' or '(' .. request[5]
    row_kinds_since = call('ZRANGEBYSCORE', all('row_kinds'), since_row, '+inf')
  end
  local paused = pauses ~= request[2] and call('SMEMBERS', all('paused')) or false
  local limited_methods = rulings ~= request[6] and call('HKEYS', all('limits')) or false
  local since, most = request[3], request[4]
  if since > moves then
    -- Redis has lost something.
    since = 0
  end
  local anew = since == 0
  local depths = {}
  local moved = call('ZRANGEBYSCORE', all('moved'), '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  for at = 1, #moved, 2 do
    depths[#depths + 1] = depth_of(moved[at])
    since = tonumber(moved[at + 1])
  end
  local more = #depths == most
  return {
    not known or tonumber(known) <= now, now, fleet, contracts, rulings, pauses, paused, limited_methods,
    more and since or moves, anew, more, depths, rows, row_kinds_since,
  }
end

-- A coordinator stops.
--
-- result   nothing
local function absent()
  call('ZREM', all('live'), ARGV[2])
  return false
end

-- Do nothing: with `replicated`, its pipeline (scripts.py) is answered once a replica has all earlier changes.
--
-- result   nothing
local function fence()
  return false
end

-- -- queues ---------------------------------------------------------------------------------------------------------

-- Keep a method's tasks from being claimed, or let them be claimed again.
--
-- request  {method, whether paused}
-- result   nothing
local function pause()
  call(request[2] and 'SADD' or 'SREM', all('paused'), request[1])
  call('INCR', all('pauses'))
  woke = not request[2]
  return false
end

-- Count the tasks of each queue with unfinished tasks. Coordinators know the ready ones by `look`.
--
-- result   {{queue, queued, scheduled, running, when the oldest ready task became ready or false, parked}…}
local function depths()
  local function counts(kind)
    local found, pairs_of = {}, call('HGETALL', all(kind))
    for at = 1, #pairs_of, 2 do
      found[pairs_of[at]] = tonumber(pairs_of[at + 1])
    end
    return found
  end
  -- Tasks of equal priority are in order of age, or of turns: one read for each priority in use.
  local function oldest_at(queue)
    local oldest
    local first = call('ZRANGE', key('ready', queue), 0, 0, 'WITHSCORES')
    while first[1] do
      local t = load(first[1])
      oldest = nearer(oldest, t and ready_at(t))
      local rank = math.floor(tonumber(first[2])) + 1
      first = call('ZRANGEBYSCORE', key('ready', queue), rank, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    end
    return oldest
  end
  local results = {}
  local scheduled, running_tasks, parked = counts('scheduled'), counts('running'), counts('parked')
  for _, queue in ipairs(call('HKEYS', all('queues'))) do
    results[#results + 1] = {
      queue, call('ZCARD', key('ready', queue)) + (parked[queue] or 0), scheduled[queue] or 0,
      running_tasks[queue] or 0, oldest_at(queue) or false, parked[queue] or 0,
    }
  end
  return results
end
