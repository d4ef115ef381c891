-- Give ready tasks of a queue other requirements, or let them end as FAILED.
--
-- request  {queue, {{id, the other queue, outcome or false}…}}
-- reads    limited, fair, t:
-- result   how many were changed: those that were ready in the queue

local queue, tasks = unpack(request)
local known = call('MGET', all('limited'), all('fair'))
limited, fair = known[1] ~= false, known[2] ~= false
local changed = 0
for _, item in ipairs(tasks) do
  local id, other, outcome = item[1], item[2], item[3]
  local t = load(id)
  if t and t.s == QUEUED and t.q == queue and not t.pk then
    if outcome then
      finish(id, t, FAILED, nil, outcome)
    else
      leave(id, t)
      tally(queue, -1)
      t.q = other
      tally(other, 1)
      enter(id, t, QUEUED)
      arm(id, t)
      tell(id, t)
    end
    changed = changed + 1
  end
end
return reply(changed)
