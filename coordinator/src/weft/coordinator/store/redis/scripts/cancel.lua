-- Cancel tasks: waiting ones end at once, the owners of running ones are told.
--
-- request  {reason, grace, {id…}}
-- result   nothing

local reason, grace_s = request[1], request[2]
for _, id in ipairs(request[3]) do
  local t = load(id)
  if t and t.s < RUNNING then
    finish(id, t, CANCELLED, 'cancelled:' .. reason)
  elseif t and t.s == RUNNING then
    local end_at = now + grace_s + BACKSTOP_S
    -- May be repeated: the nearer end holds.
    if not t.ce or end_at < t.ce then
      t.cr, t.cg, t.ce = reason, grace_s, end_at
      arm(id, t)
      revoke(t.oa, t.oe, id, t.a, reason, grace_s, false)
      tell(id, t)
    end
  end
end
return reply(false)
