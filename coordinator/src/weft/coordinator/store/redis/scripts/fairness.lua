-- Fairness keys take turns: start-time fair queueing (Goyal, Vin, Cheng 1996), within each priority of a queue.
--
-- The rules and numbers of fairness.py: a task of key k gets the tag S = max(V, F of k), and F of k becomes S + 1 / weight; V is
-- the largest tag that was claimed. The tag is the fraction of the task's score in `ready:`, so that a claim costs the same
-- with any number of keys. A key is forgotten once V has passed its F, and all of it when the queue has no waiting task.
--
-- Made at first use: without fairness keys, a script pays for nothing of it.

function open_tags()
  if tags then
    return tags
  end
  -- Most numbers in one command.
  local MOST_NUMBERS = 1000

  -- A line: the tasks of one queue with one priority.
  local function line_name(priority, queue)
    return priority .. ':' .. queue
  end

  local self, lines = {}, {}

  -- v: V, as far as known; finish: the F of keys; news: keys with a new F; new: nothing is stored; served: V has grown.
  local function line_of(t)
    local name = line_name(t.p, t.q)
    local line = lines[name]
    if not line then
      line = {key = key('fair', name), finish = {}, news = {}}
      lines[name] = line
    end
    return line
  end

  -- Read V, and the F of one key.
  local function read(line, who)
    if line.finish[who] then
      return
    end
    local found = call('ZMSCORE', line.key, 'v', 'k' .. who)
    line.new = not found[1]
    line.v = math.max(line.v or 0, tonumber(found[1] or '0'))
    line.finish[who] = tonumber(found[2] or '0')
  end

  -- The score of a task that becomes ready.
  function self.next(t)
    local line, who = line_of(t), t.fk or ''
    read(line, who)
    if line.new and not t.fk and not next(line.news) then
      -- This queue has no fairness keys, others have.
      return HIGHEST_PRIORITY - t.p
    end
    fair = true
    local tag = math.min(MAX_TAG - 1, math.max(line.v, line.finish[who]))
    local weight = math.min(MAX_WEIGHT, math.max(MIN_WEIGHT, t.fw or 1))
    line.finish[who] = tag + math.max(1, math.floor(TAG_UNIT / weight + 0.5))
    line.news[who] = true
    return score(HIGHEST_PRIORITY - t.p + tag / MAX_TAG)
  end

  -- The score of a task that returns to the front.
  function self.front(t)
    local line = line_of(t)
    read(line, t.fk or '')
    return score(HIGHEST_PRIORITY - t.p + line.v / MAX_TAG)
  end

  -- A task with this score was claimed.
  function self.claimed(t, at)
    local line = line_of(t)
    line.v = math.max(line.v or 0, (at - (HIGHEST_PRIORITY - t.p)) * MAX_TAG)
    line.served = true
  end

  -- A queue has no ready task. Parked ones keep their tags.
  function self.emptied(queue)
    if call('HEXISTS', all('parked'), queue) == 1 then
      return
    end
    local names = {}
    for priority = 0, HIGHEST_PRIORITY do
      local name = line_name(priority, queue)
      names[#names + 1], lines[name] = key('fair', name), nil
    end
    local gone = call('DEL', unpack(names))
    if gone > 0 and call('DECRBY', all('fair'), gone) <= 0 then
      call('DEL', all('fair'))
    end
  end

  -- Write what has changed.
  function self.flush()
    for _, line in pairs(lines) do
      local pairs_of = {}
      if next(line.news) and line.new then
        call('INCR', all('fair'))
        pairs_of = {0, 'v'}
      end
      for who in pairs(line.news) do
        pairs_of[#pairs_of + 1] = score(line.finish[who])
        pairs_of[#pairs_of + 1] = 'k' .. who
      end
      local new = 0
      for at = 1, #pairs_of, MOST_NUMBERS do
        new = new + call('ZADD', line.key, unpack(pairs_of, at, math.min(at + MOST_NUMBERS - 1, #pairs_of)))
      end
      if line.served then
        call('ZADD', line.key, 'XX', 'GT', score(line.v), 'v')
        call('ZREMRANGEBYSCORE', line.key, '-inf', '(' .. score(line.v))
      end
      if new > 0 then
        -- The first one is V.
        local over = call('ZCARD', line.key) - 1 - MOST_KEYS
        if over > 0 then
          call('ZREMRANGEBYRANK', line.key, 1, over)
        end
      end
    end
  end

  tags = self
  return self
end
