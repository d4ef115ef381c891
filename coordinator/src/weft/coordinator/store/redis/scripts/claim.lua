-- Start attempts: the best (priority, age) over an owner's queues first.
--
-- request  {most bytes of payloads, {{agent, epoch, slots, limit, {{queue, cost}…}}…}, token, seconds to keep it}
-- reads    owners, paused, ready:, t:, b:
-- writes   t:, and what `enter` and `expire` write; claim:<token>: the claims, for `undo`
-- result   for each request {{id, record, body, cost, deadline or false}…}

local room = request[1]
local given = {}
if call('EXISTS', key('claim', request[3])) == 1 then
  -- This claim was undone before it arrived.
  return reply({})
end
local paused = {}
for _, method in ipairs(call('SMEMBERS', all('paused'))) do
  paused[method] = true
end

-- The next ready task of a queue. Reads a page at a time.
local function head(queue, page)
  if queue.at > #queue.ids then
    queue.ids = call('ZRANGE', key('ready', queue.name), 0, page - 1, 'WITHSCORES')
    queue.at = 1
    -- Also if it is empty: the caller did not know that.
    touched[queue.name] = true
  end
  return queue.ids[queue.at], tonumber(queue.ids[queue.at + 1])
end

local function serve(owner)
  local agent, epoch, slots, limit = owner[1], owner[2], owner[3], owner[4]
  local claims, queues = {}, {}
  if limit <= 0 or not leased(agent, epoch) then
    return claims
  end
  for _, item in ipairs(owner[5]) do
    if not paused[string.match(item[1], '^[^\n]*')] then
      queues[#queues + 1] = {name = item[1], cost = item[2], ids = {}, at = 1}
    end
  end
  while #claims < limit do
    local best, best_id, best_score
    for _, queue in ipairs(queues) do
      local id, score = head(queue, limit)
      if id and (not best or score < best_score or (score == best_score and id < best_id)) then
        best, best_id, best_score = queue, id, score
      end
    end
    if not best then
      break
    end
    local t = load(best_id)
    best.at = best.at + 2
    if not (t.due and t.due <= now and expire(best_id, t, 0)) then
      local size = call('STRLEN', key('b', best_id))
      if best.cost > slots then
        break
      end
      if size > room and #claims > 0 then
        -- The answer is large enough: the next claim gets the rest.
        woke = true
        break
      end
      room, slots = room - size, slots - best.cost
      leave(best_id, t)
      t.a = math.max(t.a, t.na or 0) + 1
      t.oa, t.oe, t.rp, t.st = agent, epoch, nil, now
      enter(best_id, t, RUNNING)
      arm(best_id, t)
      tell(best_id, t)
      given[#given + 1] = {agent, epoch, best_id, t.a}
      local deadline = deadline_at(t)
      claims[#claims + 1] = {
        best_id, changed[#changed][2], call('GET', key('b', best_id)) or false, best.cost, deadline or false,
      }
    end
  end
  return claims
end

local results = {}
for index, owner in ipairs(request[2]) do
  results[index] = serve(owner)
end
if #given > 0 then
  call('SET', key('claim', request[3]), cmsgpack.pack(given), 'EX', request[4])
end
return reply(results)
