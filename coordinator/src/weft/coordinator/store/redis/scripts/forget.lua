-- Drop an agent that is not connected.
--
-- request  {agent}
-- result   nothing

local raw = call('HGET', all('agents'), request[1])
if raw and not cmsgpack.unpack(raw).c then
  call('HDEL', all('agents'), request[1])
  call('HDEL', all('about'), request[1])
  call('HDEL', all('desired'), request[1])
  fleet_changed()
end
return reply(false)
