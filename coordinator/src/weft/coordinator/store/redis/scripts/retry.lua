-- Queue a failed or cancelled task again. Its limits and its counts of failures and crashes start anew.
--
-- request  {id, its last attempt for `h:`, or false}
-- result   state before: retried when it is FAILED or CANCELLED; 0: no such task; -1: its payload is gone

local id = request[1]
local t = load(id)
if not t then
  return reply(0)
end
local before = t.s
if before == FAILED or before == CANCELLED then
  if t.z or t.ex <= now then
    return reply(-1)
  end
  call('ZREM', all('expiry'), id)
  if request[2] and request[2][1] == t.a then
    remember(id, t, request[2])
  end
  t.f, t.k, t.rp, t.b, t.st, t.fi, t.ex, t.cr, t.cg, t.ce = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
  t.ra, t.fa, t.at, t.nb = now, t.a, now, nil
  t.ff = nil
  if t.fo then
    local first = t.fb[1]
    t.q, t.x, t.ss, t.g, t.l, t.fo = first[1], first[2], first[3] or nil, first[4] or nil, first[5] or nil, nil
    t.ks = first[6] or nil
  end
  if t.oa then
    -- No session has epoch 0: nobody holds the attempt.
    t.oe = 0
    t.q = avoiding(t)
  end
  place(id, t, QUEUED)
  tell(id, t)
end
return reply(before)
