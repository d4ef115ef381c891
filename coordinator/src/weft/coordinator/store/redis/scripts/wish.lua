-- Keep an operator's wish.
--
-- request  {agent, desired state}
-- result   whether the agent is known

if call('HEXISTS', all('agents'), request[1]) == 0 then
  return reply(false)
end
call('HSET', all('desired'), request[1], request[2])
agent_changed(request[1])
return reply(true)
