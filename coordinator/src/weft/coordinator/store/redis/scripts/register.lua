-- Open a session for an agent: a new epoch, with a lease.
--
-- request  {agent, instance, description, lease}
-- writes   epochs, owners, sessions:<agent>, agents, about
-- result   the epoch

local agent, instance = request[1], request[2]
local epoch = call('INCR', all('epochs'))
call('HSET', all('agents'), agent, cmsgpack.pack({i = instance, e = epoch, c = true}))
call('HSET', all('about'), agent, request[3])
call('ZADD', all('owners'), string.format('%.17g', now + request[4]), session(agent, epoch))
call('HSET', key('sessions', agent), string.format('%d', epoch), instance)
fleet_changed()
return reply(epoch)
