-- A task's options, and when its limits pass.

local words_of = {}

-- The words of a task's options (stored_options.py).
local function words(t)
  local found = words_of[t.x]
  if not found then
    found = {string.match(t.x, OPTION_WORDS)}
    words_of[t.x] = found
  end
  return found
end

-- An option by its index; nil if it is unset.
local function option(t, index)
  local word = words(t)[index]
  local number = tonumber(word)
  if not number and word ~= '' then
    local size = UNITS[string.sub(word, -1)]
    number = size and tonumber(string.sub(word, 1, -2)) * size
  end
  return number
end

-- Whether the policy of a task retries this code.
local function retries(t, code)
  return string.find(',' .. words(t)[RETRYABLE_CODES] .. ',', ',' .. code .. ',', 1, true)
end

-- When the task becomes or became ready. `at` is absent if that is its creation.
local function ready_at(t)
  return t.at or t.c
end

local function close_at(t)
  return t.sc and (t.ra or t.c) + t.sc
end

local function start_by(t)
  return t.ss and (t.ff or t.ra or t.c + (t.d or 0)) + t.ss
end

-- When the running attempt must have ended.
local function deadline_at(t)
  local close, own_s = close_at(t), option(t, START_TO_CLOSE_S)
  if not own_s then
    return close
  end
  local own = t.st + own_s
  return close and math.min(own, close) or own
end

local function next_due_at(t)
  if t.s == RUNNING then
    local deadline = deadline_at(t)
    return nearer(deadline and deadline + BACKSTOP_S, t.ce)
  end
  local due = nearer(t.s == SCHEDULED and ready_at(t) or nil, close_at(t))
  if t.a == (t.fa or 0) then
    due = nearer(due, start_by(t))
  end
  return due
end

-- Put the task into `timers` at its next due time, or take it out.
local function arm(id, t)
  local due = t.s < SUCCEEDED and next_due_at(t) or nil
  if due ~= t.due then
    if due then
      call('ZADD', all('timers'), score(due), id)
      due_at(due)
    else
      call('ZREM', all('timers'), id)
    end
    t.due = due
  end
end

-- The name of the outcome of a task whose time limit has passed, with what it did until then (encoding.py). `text`: what
-- ready tasks of its queue wait for.
local function limit_name(limit, t, text)
  local parts
  if t.s == RUNNING then
    parts = {'running', t.a, option(t, MAX_ATTEMPTS), now - t.st, t.oa}
  elseif t.pk then
    parts = {'parked', now - ready_at(t), t.pk}
  elseif t.s == QUEUED then
    parts = {'queued', now - ready_at(t), text}
  else
    parts = {'scheduled', t.f or 0, option(t, MAX_ATTEMPTS), ready_at(t) - now}
  end
  return 'time_limit:' .. limit .. '\n' .. table.concat(parts, '\n')
end
