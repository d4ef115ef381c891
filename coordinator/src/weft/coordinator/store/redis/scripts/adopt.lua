-- Give held attempts to their agent's new session, some at a time. With the last ones, reclaim the others of its earlier
-- sessions.
--
-- request  {agent, epoch, {{id, attempt, epoch that the agent knows}…}, whether these are the last}
-- reads    owners, sessions:<agent>, t:
-- result   for each: its task's queue if it goes on, or false

local agent, epoch = request[1], request[2]
local results = {}
local lives = leased(agent, epoch)

local function adopt(id, attempt, known)
  local t = load(id)
  -- The epoch that the agent knows may be older than the holder's: a session may have adopted the attempt and broken
  -- before its Welcome.
  if not (t and t.s == RUNNING and t.a == attempt and t.oa == agent and known <= t.oe and t.oe <= epoch) then
    return false
  end
  call('SREM', key('held', session(agent, t.oe)), id)
  t.oe = epoch
  call('SADD', key('held', session(agent, epoch)), id)
  if is_limited() then
    -- A limit that is being set counts running attempts session by session (limits.lua): this one changes its session.
    open_gates().count_in(id, t)
  end
  save(id, t)
  return t.q
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
      -- The same process never heard of an attempt that it does not name. Another process means that its predecessor died.
      drop(agent, earlier, sessions[at + 1] ~= mine)
    elseif earlier < epoch then
      -- Attempts that are not named yet must not be lost before they are.
      call('ZADD', all('owners'), 'XX', 'GT', ends_at, session(agent, earlier))
    end
  end
  reclaim(request[4] and RECLAIM_ATTEMPTS or 0)
end
return reply(results)
