-- Let leases end so many seconds from now.
--
-- request  {lease, {{agent, epoch}…}}
-- result   for each: whether the owner is known

-- Arguments of one command.
local MOST = 1000

local ends_at = string.format('%.17g', now + request[1])
local results = {}
if #request[2] > 0 then
  due_at(now + request[1])
end
for from = 1, #request[2], MOST do
  local names, scores = {}, {}
  for at = from, math.min(from + MOST - 1, #request[2]) do
    names[#names + 1] = session(request[2][at][1], request[2][at][2])
    scores[#scores + 1] = ends_at
    scores[#scores + 1] = names[#names]
  end
  for _, score in ipairs(call('ZMSCORE', all('owners'), unpack(names))) do
    results[#results + 1] = score ~= false
  end
  call('ZADD', all('owners'), 'XX', unpack(scores))
end
return reply(results)
