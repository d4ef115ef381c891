-- Let other coordinators see the agents of this one as it does, and for some seconds how busy they are.
--
-- request  {{{agent, epoch, view}…}, seconds, {{agent, load}…}}
-- reads    agents
-- writes   views, load:<agent>
-- result   nothing

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
return reply(false)
