-- Take attempts back as if they had never been.
--
-- request  {agent, epoch, {{id, attempt}…}}
-- result   for each: whether it was the owner's

local results = {}
for index, item in ipairs(request[3]) do
  local t = held(request[1], request[2], item[1], item[2])
  if t then
    if not t.ce then
      attempt_over(item[1], t, false, false, true)
    end
    give_back(item[1], t)
  end
  results[index] = t ~= nil
end
return reply(results)
