-- Let leases end so many seconds from now.
--
-- request  {lease, {{agent, epoch}…}}
-- result   for each: whether the owner is known

local results = {}
for index, owner in ipairs(request[2]) do
  local known = leased(owner[1], owner[2])
  if known then
    call('ZADD', all('owners'), string.format('%.17g', now + request[1]), session(owner[1], owner[2]))
  end
  results[index] = known
end
return reply(results)
