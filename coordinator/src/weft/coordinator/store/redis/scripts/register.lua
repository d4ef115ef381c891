-- Open a session for an agent: a new epoch, with a lease. Not while another process has one that is open.
--
-- request  {agent, instance, description, lease}
-- reads    agents, owners
-- writes   epochs, owners, sessions:<agent>, agents, about, changes, gone
-- result   the epoch; false: the agent's id is in use

local agent, instance = request[1], request[2]
local raw = call('HGET', all('agents'), agent)
local last = raw and cmsgpack.unpack(raw)
if last and last.o and last.i ~= instance then
  -- What a dead coordinator left open ends with its lease.
  local ends_at = call('ZSCORE', all('owners'), session(agent, last.e))
  if ends_at and tonumber(ends_at) > now then
    return reply(false)
  end
end
local epoch = call('INCR', all('epochs'))
call('HSET', all('agents'), agent, cmsgpack.pack({i = instance, e = epoch, c = true, o = true}))
call('HSET', all('about'), agent, request[3])
call('ZADD', all('owners'), string.format('%.17g', now + request[4]), session(agent, epoch))
due_at(now + request[4])
call('HSET', key('sessions', agent), string.format('%d', epoch), instance)
call('ZREM', all('gone'), agent)
agent_changed(agent)
return reply(epoch)
