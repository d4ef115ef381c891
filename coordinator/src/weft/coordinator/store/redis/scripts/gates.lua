-- The moves of tasks at gates (gate_states.lua): taking, parking, returning, releasing.
--
-- A task that finds one of its gates shut is *parked* there: it stays QUEUED, but in no ready queue. When there is room, the best
-- parked tasks of each queue return. Each returned task carries a promise (`rt`): when it leaves the ready queue, in whatever
-- way, the next one may return. So no wake-up is lost, and about as many return as there is room for.

function open_gates()
  if gates then
    return gates
  end
  -- Most parked tasks that one call lets return, and most queues of a gate that it looks at.
  local MOST_RETURNED = MAX_PARKED
  -- When so many have returned, a script looks at no further gate: the next sweep does.
  local ENOUGH_RETURNED = 4 * MAX_PARKED
  local REST_S = 1
  -- Claims to a lock that return at a time: those behind them return with their promises.
  local MOST_SHARED = 16

  local self = open_states()
  local news, state, gate_of, rule_of, entries = self.news, self.state, self.gate_of, self.rule_of, self.entries
  local tokens, token_at, room, lock_free, look_at =
    self.tokens, self.token_at, self.room, self.lock_free, self.look_at

  local returned = 0

  local function parked_key(name, queue)
    return key('parked', name .. '\n' .. queue)
  end

  -- -- parking and returning ----------------------------------------------------------------------------------------

  -- A parked task leaves its gate.
  local function unpark(id, t)
    local name, kind = gate_of(t.pk)
    local s = state(name)
    call('ZREM', parked_key(name, t.q), id)
    count('parks:' .. name, t.q, -1)
    count('parked', t.q, -1)
    s.w, news[name] = s.w - 1, true
    if kind == 'x' then
      call('ZREM', key('exclusive', name), id)
      s.xw = s.xw > 1 and s.xw - 1 or nil
    end
    if s.w == 0 then
      call('ZREM', all('waiting'), name)
    end
    t.pk = nil
  end

  -- Let parked tasks of one queue return, best first.
  local function return_some(name, queue, most)
    local found = call('ZRANGE', parked_key(name, queue), 0, most - 1, 'WITHSCORES')
    local s = state(name)
    for at = 1, #found, 2 do
      local id = found[at]
      local t = load(id)
      local entry = t.pk
      local kind = string.sub(entry, 1, 1)
      if kind == 'x' and at > 1 or kind ~= 'r' and not lock_free(s, kind, name, id) then
        -- An exclusive claim returns alone.
        break
      end
      unpark(id, t)
      t.rt, s.r = name, (s.r or 0) + 1
      call('ZADD', key('ready', queue), found[at + 1], id)
      save(id, t)
      touched[queue], woke, returned = true, true, returned + 1
      if kind == 'x' then
        break
      end
    end
  end

  -- A returned task leaves its ready queue; returns the gate to look at.
  local function redeem(t)
    local name = t.rt
    local s = state(name)
    s.r, news[name] = s.r > 1 and s.r - 1 or nil, true
    t.rt = nil
    return name
  end

  -- Let at most `most` parked tasks of each queue return, if the gate has room.
  function self.wake(name, most)
    local s = state(name)
    if s.w <= 0 then
      return
    end
    local rule = rule_of(name)
    local left = room(rule, s)
    if left < 1 then
      if not rule[1] or rule[1] > s.n then
        look_at(name, token_at(rule, s))
      end
      return
    elseif s.x then
      return
    elseif string.sub(name, 1, 1) == 'l' then
      most = MOST_SHARED
    end
    local queues = call('HRANDFIELD', key('parks', name), MOST_RETURNED)
    local each = math.max(1, math.min(most, left, math.floor(MOST_RETURNED / #queues)))
    for _, queue in ipairs(queues) do
      return_some(name, queue, each)
    end
    if #queues == MOST_RETURNED then
      -- Others have their turn later.
      look_at(name, now + REST_S)
    end
  end

  -- Park a ready task at one of its gates.
  function self.park(id, t, entry, rank)
    local name, kind = gate_of(entry)
    local s, promised = state(name), t.rt and redeem(t)
    touched[t.q] = true
    call('ZREM', key('ready', t.q), id)
    call('ZADD', parked_key(name, t.q), score(rank), id)
    count('parks:' .. name, t.q, 1)
    count('parked', t.q, 1)
    if kind == 'x' then
      call('ZADD', key('exclusive', name), 0, id)
      s.xw = (s.xw or 0) + 1
    end
    if s.w == 0 then
      call('ZADD', all('waiting'), 0, name)
    end
    s.w, news[name] = s.w + 1, true
    t.pk = entry
    save(id, t)
    local rule = rule_of(name)
    if rule and rule[2] and (not rule[1] or rule[1] > s.n) then
      look_at(name, token_at(rule, s))
    end
    if promised then
      self.wake(promised, 1)
    end
  end

  -- A queued task leaves: a parked one, or one with a promise to keep.
  function self.leave(id, t)
    local name
    if t.pk then
      name = gate_of(t.pk)
      unpark(id, t)
    else
      name = redeem(t)
    end
    self.wake(name, 1)
  end

  -- -- taking and releasing -----------------------------------------------------------------------------------------

  -- The first gate that is shut for a task, as an entry, or nil if all have room; and all its gates.
  function self.shut(id, t)
    local needed = entries(t)
    for _, entry in ipairs(needed) do
      local name, kind = gate_of(entry)
      local s = state(name)
      if kind == 'r' then
        if room(rule_of(name), s) < 1 then
          return entry, needed
        end
      elseif not lock_free(s, kind, name, id) then
        return entry, needed
      end
    end
    return nil, needed
  end

  local function take_one(entry, id)
    local name, kind = gate_of(entry)
    local s = state(name)
    s.n, news[name] = s.n + 1, true
    if kind ~= 'r' then
      s.x = kind == 'x' or nil
      call('SADD', key('holders', name), id)
      call('ZADD', all('locks'), 0, name)
      return
    end
    local rule = rule_of(name)
    if rule[2] then
      s.tk, s.at = math.max(-1, tokens(rule, s) - 1), now
      if s.w > 0 then
        look_at(name, token_at(rule, s))
      end
    end
  end

  -- An attempt starts: take these gates.
  function self.take(id, t, needed)
    for _, entry in ipairs(needed) do
      take_one(entry, id)
    end
    t.tg = needed[1] and needed or nil
  end

  -- An attempt runs: take its gates that it has not taken, whether there is room or not.
  function self.count_in(id, t)
    local taken, needed = {}, t.tg or {}
    for _, entry in ipairs(needed) do
      taken[entry] = true
    end
    for _, entry in ipairs(entries(t)) do
      if not taken[entry] then
        take_one(entry, id)
        needed[#needed + 1] = entry
      end
    end
    t.tg = needed[1] and needed or nil
  end

  -- An attempt has ended. `unstarted`: as if it had never been.
  function self.release(id, t, unstarted)
    local taken = t.tg
    t.tg = nil
    for _, entry in ipairs(taken) do
      local name, kind = gate_of(entry)
      local s = state(name)
      s.n, news[name] = s.n - 1, true
      if kind ~= 'r' then
        s.x = nil
        call('SREM', key('holders', name), id)
      elseif unstarted and s.tk then
        s.tk = s.tk + 1
      end
    end
    for _, entry in ipairs(taken) do
      self.wake(gate_of(entry), 1)
    end
  end

  -- -- counts of unfinished tasks -----------------------------------------------------------------------------------

  local function is_strict(rule)
    return rule and rule[1] and rule[4] ~= LIMIT_QUEUE
  end

  -- The run limits of a task that do not let it wait: {gate, rule, where it counts tasks}….
  function self.strict(t)
    local found = {}
    for _, entry in ipairs(entries(t)) do
      local rule = string.sub(entry, 1, 1) == 'r' and rule_of(entry)
      if is_strict(rule) then
        found[#found + 1] = {entry, rule, rule[7] .. ':' .. entry}
      end
    end
    return found
  end

  -- Count an unfinished task at these limits, as their newest.
  function self.keep(id, t)
    local names = {}
    for index, item in ipairs(self.strict(t)) do
      names[index] = item[3]
      local last = call('ZRANGE', key('kept', item[3]), -1, -1, 'WITHSCORES')[2]
      call('ZADD', key('kept', item[3]), (tonumber(last) or 0) + 1, id)
    end
    t.ug = names[1] and names or nil
  end

  function self.unkeep(id, t)
    for _, name in ipairs(t.ug) do
      call('ZREM', key('kept', name), id)
    end
    t.ug = nil
  end

  -- -- changes of rules and passing time ----------------------------------------------------------------------------

  -- The rules of a method have changed: look at its gates behind this one, some at a time.
  local function look_behind(name)
    local method = string.match(name, '^r([^\n]*)\n')
    -- The character after the newline ends the method's names.
    local names = call(
      'ZRANGEBYLEX', all('waiting'), '(' .. name, '(r' .. method .. '\11', 'LIMIT', 0, MOST_RETURNED
    )
    for at, each in ipairs(names) do
      self.wake(each, MOST_RETURNED)
      if at == MOST_RETURNED or at < #names and returned >= ENOUGH_RETURNED then
        look_at('c' .. each, now)
        break
      end
    end
  end

  -- Replace the rules of a method. A limit that begins to count unfinished tasks begins with none.
  function self.change(method, given)
    local before, version = self.rules(method) or {}, call('INCR', all('rulings'))
    for expression, rule in pairs(given) do
      local old = before[expression]
      rule[7] = is_strict(rule) and (is_strict(old) and old[7] or version) or nil
    end
    self.use_rules(method, next(given) and given)
    if next(given) then
      call('HSET', all('limits'), method, cmsgpack.pack(given))
    else
      call('HDEL', all('limits'), method)
    end
    look_at('cr' .. method .. '\n', now)
  end

  -- Look at the gates that time opens.
  function self.look(most)
    local names = call('ZRANGEBYSCORE', all('gates'), '-inf', score(now), 'LIMIT', 0, most)
    for _, name in ipairs(names) do
      call('ZREM', all('gates'), name)
      if string.sub(name, 1, 1) == 'c' then
        look_behind(string.sub(name, 2))
      else
        self.wake(name, MOST_RETURNED)
      end
      if returned >= ENOUGH_RETURNED then
        break
      end
    end
    if names[1] and call('EXISTS', all('gates'), all('limits')) == 0 then
      call('DEL', all('limited'))
    end
  end

  gates = self
  return self
end
