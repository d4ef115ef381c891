-- How many tasks each queue with unfinished tasks holds.
--
-- result   {{queue, queued, scheduled, running, when the oldest ready task became ready or false}…}

local results = {}
local queues = call('HKEYS', all('queues'))
for _, queue in ipairs(queues) do
  local oldest
  for score = 0, HIGHEST_PRIORITY do
    local first = call('ZRANGEBYSCORE', key('ready', queue), score, score, 'LIMIT', 0, 1)[1]
    local t = first and load(first)
    oldest = nearer(oldest, t and t.at)
  end
  results[#results + 1] = {
    queue, call('ZCARD', key('ready', queue)), tonumber(call('HGET', all('scheduled'), queue) or '0'),
    tonumber(call('HGET', all('running'), queue) or '0'), oldest or false,
  }
  touched[queue] = true
end
return reply(results)
