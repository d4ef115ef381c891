-- Gates: run limits and locks, which tasks pass together when an attempt starts, and leave when it ends. This file has the
-- rules of run limits, the state of each gate and its arithmetic (that of run_limits.py); gates.lua moves tasks.
--
-- The name of a gate is 'r<method>\n<key expression>\n<value>' (a run limit), or 'l<name>' (a lock). A task's claim to a lock,
-- and what it holds, is an entry: the name of a run limit, or 'x<name>' (exclusive) or 's<name>' (shared) for a lock.
--
-- Made at first use: without limits and locks, a script pays for nothing of it.

-- Whether there may be run limits.
function is_limited()
  if limited == nil then
    limited = call('EXISTS', all('limited')) == 1
  end
  return limited
end

local function open_states()
  -- How long an idle token bucket is kept after it is full, and at most.
  local BUCKET_KEPT_S, MOST_KEPT_S = 60, 1e9
  -- Rounding of times must not cost a token.
  local ROUNDING_S = 1e-6

  local self, states, rules = {news = {}}, {}, {}
  local news = self.news

  -- A method's rules: key expression -> {most running, rate, burst, action at the limit}, each false if unset; or false.
  function self.rules(method)
    local found = rules[method]
    if found == nil then
      local raw = is_limited() and call('HGET', all('limits'), method)
      found = raw and cmsgpack.unpack(raw)
      rules[method] = found
    end
    return found
  end

  function self.use_rules(method, given)
    rules[method] = given or false
  end

  -- The gate of an entry, and its kind.
  local function gate_of(entry)
    local kind, rest = string.sub(entry, 1, 1), string.sub(entry, 2)
    return kind == 'r' and entry or 'l' .. rest, kind
  end

  local function rule_of(name)
    local method, expression = string.match(name, '^r([^\n]*)\n([^\n]*)\n')
    local known = method and self.rules(method)
    return known and known[expression]
  end

  -- n: attempts inside; x: one holds the lock exclusively; w: parked tasks; xw: exclusive claims among them; r: returned tasks;
  -- tk, at: tokens, and when they were counted.
  local function state(name)
    local found = states[name]
    if not found then
      local raw = call('GET', key('gate', name))
      found = raw and cmsgpack.unpack(raw) or {n = 0, w = 0}
      states[name] = found
    end
    return found
  end

  local function tokens(rule, s)
    return math.min(rule[3], (s.tk or rule[3]) + math.max(0, now - (s.at or now)) * rule[2])
  end

  -- For how many more attempts a run limit has room.
  local function room(rule, s)
    local left = rule and rule[1] and rule[1] - s.n or math.huge
    if rule and rule[2] then
      left = math.min(left, math.floor(tokens(rule, s) + ROUNDING_S * rule[2]))
    end
    return left
  end

  -- Whether a lock can be taken. While it is held, shared claims do not overtake an older exclusive one.
  local function lock_free(s, kind, name, id)
    if s.n == 0 then
      return true
    elseif kind == 'x' or s.x then
      return false
    elseif not s.xw then
      return true
    end
    local first = call('ZRANGE', key('exclusive', name), 0, 0)[1]
    return not first or id < first
  end

  -- Have a sweep look at a gate.
  local function look_at(name, at)
    if not is_limited() then
      call('SET', all('limited'), 1)
      limited = true
    end
    call('ZADD', all('gates'), score(at), name)
    due_at(at)
  end

  -- When a run limit with a rate has a token.
  local function token_at(rule, s)
    return now + math.max(0, 1 - tokens(rule, s)) / rule[2]
  end

  -- The gates of a task, as entries.
  local function entries(t)
    local found = {}
    local method = string.match(t.q, '^[^\n]*')
    local known = self.rules(method)
    local function add(expression, value)
      if known and known[expression] then
        found[#found + 1] = 'r' .. method .. '\n' .. expression .. '\n' .. value
      end
    end
    if known then
      add('', '')
      add('fairness_key', t.fk or '')
      for at = 1, #(t.g or {}), 2 do
        if t.g[at] ~= '' and t.g[at] ~= 'fairness_key' then
          add(t.g[at], t.g[at + 1])
        end
      end
    end
    for _, entry in ipairs(t.l or {}) do
      found[#found + 1] = entry
    end
    return found
  end

  -- Write the states that have changed. A bucket that is full again is forgotten.
  function self.flush()
    for name in pairs(news) do
      local s, rule = states[name], rule_of(name)
      local kept_s = rule and rule[2] and s.tk and (rule[3] - tokens(rule, s)) / rule[2] or 0
      if s.n > 0 or s.w > 0 or s.r then
        call('SET', key('gate', name), cmsgpack.pack(s))
      elseif kept_s > 0 then
        call('SET', key('gate', name), cmsgpack.pack(s), 'EX', math.ceil(math.min(kept_s, MOST_KEPT_S)) + BUCKET_KEPT_S)
      else
        call('DEL', key('gate', name))
        if string.sub(name, 1, 1) == 'l' then
          call('ZREM', all('locks'), name)
        end
      end
    end
  end

  self.gate_of, self.rule_of, self.state, self.entries = gate_of, rule_of, state, entries
  self.tokens, self.token_at, self.room, self.lock_free, self.look_at = tokens, token_at, room, lock_free, look_at
  return self
end
