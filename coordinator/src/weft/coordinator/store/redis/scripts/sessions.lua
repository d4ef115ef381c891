-- Sessions of agents: their leases, and the attempts that they hold.

-- Record that an agent has changed: coordinators read it again.
local function agent_changed(agent)
  call('ZADD', all('changes'), call('INCR', all('fleet')), agent)
  woke = true
end

local function leased(agent, epoch)
  return call('ZSCORE', all('owners'), session(agent, epoch)) ~= false
end

-- The running task with this current attempt, if the attempt is the owner's.
local function running(agent, epoch, id, attempt)
  local t = load(id)
  if t and t.s == RUNNING and t.a == attempt and t.oa == agent and t.oe == epoch then
    return t
  end
end

-- End a lease. Its attempts will be reclaimed: counted as crashes, or as if they had never been.
local function drop(agent, epoch, as_crashes)
  local name = session(agent, epoch)
  call('ZREM', all('owners'), name)
  call('HDEL', key('sessions', agent), string.format('%d', epoch))
  call('ZADD', all('leaving'), as_crashes and 1 or 0, name)
  due_at(now)
end

-- Reclaim attempts of ended sessions, at most `limit`; returns how many. Sweeps reclaim the rest.
local function reclaim(limit)
  local taken = 0
  while taken < limit do
    local first = call('ZRANGE', all('leaving'), 0, 0, 'WITHSCORES')
    if not first[1] then
      break
    end
    local name, back = first[1], tonumber(first[2]) == 1 and crash or release
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

-- Record that this session is over, by a goodbye or not. Does nothing if a later session is open.
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
