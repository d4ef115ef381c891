-- Give attempts that an agent still holds to its new session, some at a time; with the last ones, take the others of its
-- earlier sessions back.
--
-- request  {agent, epoch, {{id, attempt, the epoch that the agent knows}…}, whether these are the last}
-- reads    owners, sessions:<agent>, t:
-- result   for each: whether it goes on

local agent, epoch = request[1], request[2]
local results = {}
local lives = leased(agent, epoch)

local function adopt(id, attempt, known)
  local t = load(id)
  -- The epoch that the agent knows can be earlier than the holder's: of a session that adopted the attempt and broke
  -- before the agent was welcomed.
  if not (t and t.s == RUNNING and t.a == attempt and t.oa == agent and known <= t.oe and t.oe <= epoch) then
    return false
  end
  call('SREM', key('held', session(agent, t.oe)), id)
  t.oe = epoch
  call('SADD', key('held', session(agent, epoch)), id)
  save(id, t)
  return true
end

for index, item in ipairs(request[3]) do
  results[index] = lives and adopt(item[1], item[2], item[3])
end
if lives then
  local sessions = call('HGETALL', key('sessions', agent))
  local mine = call('HGET', key('sessions', agent), string.format('%d', epoch))
  local ends_at = call('ZSCORE', all('owners'), session(agent, epoch))
  for at = 1, #sessions, 2 do
    local earlier = tonumber(sessions[at])
    if earlier < epoch and request[4] then
      -- The same process never heard of what it does not name; another one says that its predecessor died.
      drop(agent, earlier, sessions[at + 1] ~= mine)
    elseif earlier < epoch then
      -- What is not named yet must not be lost before it is.
      call('ZADD', all('owners'), 'XX', 'GT', ends_at, session(agent, earlier))
    end
  end
  take_back(request[4] and PORTION or 0)
end
return reply(results)
