-- Cancel tasks: waiting ones end at once, the owners of running ones are told.
--
-- request  {reason, grace, {id…}}
-- result   nothing

for _, id in ipairs(request[3]) do
  local t = load(id)
  if t and t.s < SUCCEEDED then
    cancel(id, t, request[1], request[2])
  end
end
return reply(false)
