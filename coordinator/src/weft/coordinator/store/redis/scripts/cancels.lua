-- Cancels tasks, and the remembered calls of their handlers: cancel -> leave_calls -> cancel_calls, a portion at a time.

-- Request the end of a running attempt. May be repeated: the nearer end holds.
local function request_cancel(id, t, reason, grace_s)
  local end_at = now + grace_s + BACKSTOP_S
  if not t.ce or end_at < t.ce then
    t.cr, t.cg, t.ce = reason, grace_s, end_at
    if t.ug then
      open_gates().unkeep(id, t)
    end
    arm(id, t)
    revoke(t.oa, t.oe, id, t.a, reason, grace_s, false)
    tell(id, t)
  end
end

-- A task is cancelled: what it has called so far is to be cancelled, too, by `cancel_calls`. Returns whether there is anything.
local function leave_calls(id, grace_s)
  if call('EXISTS', key('calls', id)) == 0 then
    return false
  end
  call('ZADD', all('cancelling'), score(now), string.format('%s/%.17g/', id, grace_s))
  call('SET', all('cancels'), 1)
  return true
end

-- Cancel an unfinished task. Returns whether it has called others, which `cancel_calls` cancels.
local function cancel(id, t, reason, grace_s)
  if t.s < RUNNING then
    finish(id, t, CANCELLED, 'cancelled:' .. reason)
  else
    request_cancel(id, t, reason, grace_s)
  end
  return leave_calls(id, grace_s)
end

-- Cancel remembered calls of cancelled tasks, some of them. Returns whether there may be more: then this coordinator must sweep.
local function cancel_calls()
  local left = MOST_CALLS
  while left > 0 do
    local entry = call('ZRANGE', all('cancelling'), 0, 0)[1]
    if not entry then
      call('DEL', all('cancels'))
      return false
    end
    local parent, grace_s, behind = string.match(entry, '^(%x+)/([^/]*)/(%x*)$')
    local from = behind == '' and '-' or '(' .. behind
    local ids = call('ZRANGEBYLEX', key('calls', parent), from, '+', 'LIMIT', 0, left)
    call('ZREM', all('cancelling'), entry)
    if #ids == left then
      call('ZADD', all('cancelling'), score(now), string.format('%s/%s/%s', parent, grace_s, ids[#ids]))
    end
    for _, id in ipairs(ids) do
      local t = load(id)
      if t and t.s < SUCCEEDED then
        cancel(id, t, 'task ' .. parent .. ', which called it, was cancelled', tonumber(grace_s))
      end
    end
    -- A caller without calls costs something, too.
    left = left - #ids - 1
  end
  due_at(now)
  return true
end
