-- The states that locks keep (state_store.py). A state is msgpack of {version, value, type, changed at, when it ends or false, task}.

local keyed

-- Made when a script first needs it: Lua makes each function anew at every run.
local function keyed_states()
  if keyed then
    return keyed
  end
  local self = {}

  -- A state, and its bytes; nil: there is none.
  function self.get(name)
    local raw = call('GET', key('state', name))
    local found = raw and cmsgpack.unpack(raw)
    -- Redis removes it by its own clock; a test may have another one.
    if not found or found[5] and found[5] <= now then
      return nil, nil
    end
    return found, raw
  end

  local function remove(name)
    call('DEL', key('state', name))
    call('ZREM', all('states'), name)
    call('ZREM', all('state_ends'), name)
  end

  -- Change a state, which is `before` now (nil: none); returns what it is then, nil if it is deleted.
  -- `change`: {version that the writer has or false, value or false (delete it), type, seconds that it is kept or false}.
  function self.change(name, before, change, task_id)
    local value, ttl_s = change[2], change[4]
    if not value then
      if before then
        remove(name)
      end
      return nil
    end
    local ends = ttl_s and now + ttl_s
    local version = math.max((before and before[1] or 0) + 1, math.floor(now * 1e6))
    local state = {version, value, change[3], now, ends or false, task_id}
    local raw = cmsgpack.pack(state)
    local had_end = before and before[5]
    if not before then
      -- One that is listed has ended, and its end may be there still.
      had_end = call('ZADD', all('states'), 0, name) == 0
    end
    if ends then
      call('SET', key('state', name), raw, 'PX', math.ceil(ttl_s * 1000))
      -- Those that have ended make room for those that will.
      for _, other in ipairs(call('ZRANGEBYSCORE', all('state_ends'), '-inf', score(now), 'LIMIT', 0, REMOVED_AT_ONCE)) do
        if other ~= name then
          remove(other)
        end
      end
      call('ZADD', all('state_ends'), score(ends), name)
    else
      call('SET', key('state', name), raw)
      if had_end then
        call('ZREM', all('state_ends'), name)
      end
    end
    return state
  end

  -- Whether this state would be one too many. Those that have ended do not count: some are there until a later change removes them.
  function self.is_full(name, most)
    return call('ZCARD', all('states')) >= most and not self.get(name)
      and call('ZCARD', all('states')) - call('ZCOUNT', all('state_ends'), '-inf', score(now)) >= most
  end

  keyed = self
  return self
end
