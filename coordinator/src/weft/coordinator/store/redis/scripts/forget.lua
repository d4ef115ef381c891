-- Drop an agent that is not connected. That it is gone is remembered, of so many that were forgotten last.
--
-- request  {agent}
-- writes   agents, about, desired, views, changes, gone, floor
-- result   nothing

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
return reply(false)
