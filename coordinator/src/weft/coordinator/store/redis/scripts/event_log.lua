-- The logs of topics (event_store.py), for the scripts that read or append events. One function, so that a script that needs none of it
-- makes one only.
local function event_logs()
  local self = {}

  function self.of(topic)
    local found = call('HMGET', key('topic', topic), 'first', 'last', 'size', 'at')
    return {
      known = found[1], first = tonumber(found[1] or '1'), last = tonumber(found[2] or '0'),
      size = tonumber(found[3] or '0'), at = tonumber(found[4] or '0'),
    }
  end

  function self.save(topic, log)
    call('HSET', key('topic', topic), 'first', log.first, 'last', log.last, 'size', log.size, 'at', score(log.at))
  end

  -- Drop the oldest events of a topic: while `is_old` says so of one, by its log, its size and its time, but at most so many. Returns how
  -- many were dropped.
  function self.drop(topic, log, most, is_old)
    local count, done = 0, false
    while not done and count < most do
      local step = math.min(EVENT_STEP, most - count)
      local entries = call('XRANGE', key('log', topic), '-', '+', 'COUNT', step)
      done = #entries < step
      for _, entry in ipairs(entries) do
        local body, at = entry[2][2], tonumber(entry[2][4])
        if not is_old(log, at) then
          done = true
          break
        end
        count = count + 1
        log.first = log.first + 1
        log.size = log.size - #body - EVENT_BYTES
      end
      call('XTRIM', key('log', topic), 'MINID', string.format('%d-0', log.first))
    end
    return count
  end

  -- Append events, all or none. Returns {sequence, whether it was there}… in order, or false: there are too many topics.
  --
  -- events  {topic, body, id or ''}…
  function self.append(events, keep_bytes, most_topics)
    local logs, missing = {}, 0
    for _, event in ipairs(events) do
      local topic = event[1]
      if not logs[topic] then
        logs[topic] = self.of(topic)
        missing = missing + (logs[topic].known and 0 or 1)
      end
    end
    if missing > 0 and call('ZCARD', all('topics')) + missing > most_topics then
      return false
    end
    local span = math.floor(now / EVENT_IDS_S)
    local ids, ids_before = key('event_ids', span), key('event_ids', span - 1)
    local results, has_ids, fresh = {}, false, {}
    for index, event in ipairs(events) do
      local topic, body, id = unpack(event)
      local log, named = logs[topic], topic .. '\n' .. id
      local earlier = id ~= '' and (call('HGET', ids, named) or call('HGET', ids_before, named))
      if earlier then
        results[index] = {tonumber(earlier), true}
      else
        log.last = log.last + 1
        log.at = math.max(log.at, now)
        log.size = log.size + #body + EVENT_BYTES
        call('XADD', key('log', topic), string.format('%d-0', log.last), 'b', body, 't', score(log.at))
        if id ~= '' then
          call('HSET', ids, named, log.last)
          has_ids = true
        end
        fresh[topic] = true
        results[index] = {log.last, false}
      end
    end
    if has_ids then
      call('EXPIRE', ids, 3 * EVENT_IDS_S)
    end
    for topic in pairs(fresh) do
      local log = logs[topic]
      if log.size > keep_bytes then
        self.drop(topic, log, log.last - log.first, function(present)
          return present.size > keep_bytes
        end)
      end
      self.save(topic, log)
      if not log.known then
        call('ZADD', all('topics'), 0, topic)
      end
      next_revision('events:' .. topic)
    end
    return results
  end

  return self
end
