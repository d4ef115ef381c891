-- The agent left: forget its lease, take back what it may still hold, counted as crashes; a sweep does what is much.
--
-- request  {agent, epoch}
-- result   nothing

local agent, epoch = request[1], request[2]
if leased(agent, epoch) then
  drop(agent, epoch, true)
  take_back(PORTION)
end
ended(agent, epoch, true)
return reply(false)
