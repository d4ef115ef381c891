-- A session's stream is over: its lease ends so many seconds from now, and another process may open one.
--
-- request  {agent, epoch, lease}
-- writes   owners, agents, views
-- result   nothing

local agent, epoch = request[1], request[2]
if leased(agent, epoch) then
  call('ZADD', all('owners'), string.format('%.17g', now + request[3]), session(agent, epoch))
  due_at(now + request[3])
end
local raw = call('HGET', all('agents'), agent)
local last = raw and cmsgpack.unpack(raw)
if last and last.e == epoch and last.o then
  last.o = nil
  call('HSET', all('agents'), agent, cmsgpack.pack(last))
  -- Nobody is to believe any more how its coordinator saw it.
  call('HDEL', all('views'), agent)
  agent_changed(agent)
end
return reply(false)
