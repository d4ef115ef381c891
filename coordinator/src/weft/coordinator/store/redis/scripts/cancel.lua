-- Cancel tasks, with the remembered calls of their handlers: waiting ones end at once, the owners of running ones are told.
--
-- request  {reason, grace, {id…}}
-- result   nothing

local called = false
for _, id in ipairs(request[3]) do
  local t = load(id)
  if t and t.s < SUCCEEDED then
    called = cancel(id, t, request[1], request[2]) or called
  elseif t and t.s == CANCELLED then
    -- What it has called since then, or has not ended yet.
    called = leave_calls(id, request[2]) or called
  end
end
if called then
  cancel_calls()
end
return reply(false)
