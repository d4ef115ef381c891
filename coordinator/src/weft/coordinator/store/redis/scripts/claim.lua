-- Start attempts: the best (priority, fair order, age) of each queue, and the best (priority, age) over an owner's queues first.
-- A task whose gate is shut is parked.
--
-- request  {most bytes of payloads, {{agent, epoch, slots, limit, {{queue, cost, consumed amounts}…}, amounts left}…}, token,
--          seconds to keep it}; amounts: resource → number, absent: none
-- reads    owners, paused, limited, fair, ready:, t:, b:, state:
-- writes   t:, and what `enter`, `expire`, `park` and `take` write; claim:<token>: the claims, for `undo`
-- result   for each request {{id, record, body, cost, deadline or false, the last attempt of `h:` or false, and if its lock keeps a state
--          that one or false}…}

-- Gates that a claim looks at because of passed time: a sweep looks at the rest.
local LOOKED_AT = 16
local room = request[1]
local given = {}
local known = call('MGET', key('claim', request[3]), all('limited'), all('fair'))
limited, fair = known[2] ~= false, known[3] ~= false
if known[1] then
  -- This claim was undone before it arrived.
  return reply({})
end
if limited then
  open_gates().look(LOOKED_AT)
end
local parked = 0
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

-- Whether a task of this queue has the resources that it consumes. If not, the queues that consume one of them get nothing:
-- small tasks must not overtake a large one for ever.
local function has_resources(queue, left, held)
  local fits, free = true, true
  for resource, amount in pairs(queue.consumes) do
    fits = fits and (left[resource] or 0) >= amount
    free = free and not held[resource]
  end
  if not fits then
    for resource in pairs(queue.consumes) do
      held[resource] = true
    end
  end
  return fits and free
end

-- The queue with the best head.
local function best_of(queues, page)
  local best, best_rank, best_id, best_score
  for _, queue in ipairs(queues) do
    local id, score
    if not queue.gone then
      id, score = head(queue, page)
    end
    local rank = id and math.floor(score)
    if id and (not best or rank < best_rank or (rank == best_rank and id < best_id)) then
      best, best_rank, best_id, best_score = queue, rank, id, score
    end
  end
  return best, best_id, best_score
end

-- Start an attempt; returns the claim.
local function start(id, t, owner, queue, at, needed)
  if needed then
    open_gates().take(id, t, needed)
  end
  if t.fk or at % 1 > 0 then
    open_tags().claimed(t, at)
  end
  leave(id, t)
  t.a = math.max(t.a, t.na or 0) + 1
  t.oa, t.oe, t.rp, t.st = owner[1], owner[2], nil, now
  enter(id, t, RUNNING)
  arm(id, t)
  tell(id, t)
  given[#given + 1] = {owner[1], owner[2], id, t.a}
  if queue.consumes then
    for resource, amount in pairs(queue.consumes) do
      owner[6][resource] = (owner[6][resource] or 0) - amount
    end
  end
  local past = t.h and cmsgpack.unpack(call('GET', key('h', id)))
  return {
    id, changed[#changed][2], call('GET', key('b', id)) or false, queue.cost, deadline_at(t) or false,
    past and past[#past] or false,
  }
end

local function queues_of(owner)
  local queues = {}
  for _, item in ipairs(owner[5]) do
    local method = string.match(item[1], '^[^\n]*')
    if not paused[method] then
      queues[#queues + 1] = {
        name = item[1], cost = item[2], consumes = item[3], ids = {}, at = 1,
        gated = limited and open_gates().rules(method),
      }
    end
  end
  return queues
end

local function serve(owner)
  local slots, limit, claims, held = owner[3], owner[4], {}, {}
  if limit <= 0 or not leased(owner[1], owner[2]) then
    return claims
  end
  owner[6] = owner[6] or {}
  local queues = queues_of(owner)
  while #claims < limit do
    local best, id, at = best_of(queues, parked > 0 and MAX_PARKED or limit)
    if not best then
      break
    end
    local t = load(id)
    if t.due and t.due <= now and expire(id, t, 0, false) then
      best.at = best.at + 2
    elseif best.consumes and not has_resources(best, owner[6], held) then
      best.gone = true
    elseif best.cost > slots then
      break
    else
      local shut, needed
      if best.gated or t.l then
        shut, needed = open_gates().shut(id, t)
      end
      if shut and parked == MAX_PARKED then
        woke = true
        break
      elseif shut then
        parked = parked + 1
        open_gates().park(id, t, shut, at)
      else
        local size, state = t.bs, nil
        if t.ks then
          state = select(2, keyed_states().get(t.ks)) or false
          size = size + (state and #state or 0)
        end
        if size > room and #claims > 0 then
          -- The answer is large enough: the next claim gets the rest.
          woke = true
          break
        end
        room, slots = room - size, slots - best.cost
        local claim = start(id, t, owner, best, at, needed)
        claim[7] = state
        claims[#claims + 1] = claim
      end
      best.at = best.at + 2
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
