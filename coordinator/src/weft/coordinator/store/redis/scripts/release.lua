-- Release attempts: their tasks are queued again, and nothing is counted.
--
-- request  {agent, epoch, {{id, attempt}…}}
-- result   for each: whether it was the owner's

local results = {}
for index, item in ipairs(request[3]) do
  local t = running(request[1], request[2], item[1], item[2])
  if t then
    note(EVENT_ATTEMPT_RELEASED, t.q)
    if not t.ce then
      record_attempt(item[1], t, false, false, true)
    end
    release(item[1], t)
  end
  results[index] = t ~= nil
end
return reply(results)
