-- How many tasks each queue with unfinished tasks holds, for who asks: coordinators know by `look` which are ready.
--
-- result   {{queue, queued, scheduled, running, when the oldest ready task became ready or false}…}

local function counts(kind)
  local found, pairs_of = {}, call('HGETALL', all(kind))
  for at = 1, #pairs_of, 2 do
    found[pairs_of[at]] = tonumber(pairs_of[at + 1])
  end
  return found
end

-- Ids of equal priority are in order of age: one look for each priority that there is.
local function oldest_at(queue)
  local oldest
  local first = call('ZRANGE', key('ready', queue), 0, 0, 'WITHSCORES')
  while first[1] do
    local t = load(first[1])
    oldest = nearer(oldest, t and t.at)
    first = call('ZRANGEBYSCORE', key('ready', queue), '(' .. first[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  end
  return oldest
end

local results = {}
local scheduled, running = counts('scheduled'), counts('running')
for _, queue in ipairs(call('HKEYS', all('queues'))) do
  results[#results + 1] = {
    queue, call('ZCARD', key('ready', queue)), scheduled[queue] or 0, running[queue] or 0, oldest_at(queue) or false,
  }
end
return reply(results)
