-- No agent can run the tasks of a queue: let its ready ones go on at their next alternatives, if they have one.
--
-- request  {queue, place of the first task to look at, how many, what they wait for}
-- reads    limited, fair, ready:, t:
-- result   {how many went on, the place to go on at or false}

local queue, at, most, text = unpack(request)
local known = call('MGET', all('limited'), all('fair'))
limited, fair = known[1] ~= false, known[2] ~= false
local ids, moved = call('ZRANGE', key('ready', queue), at, at + most - 1), 0
for _, id in ipairs(ids) do
  local t = load(id)
  if t.fb and fall_back(id, t, UNAVAILABLE, 'no_agent:' .. now - ready_at(t) .. '\n' .. text) then
    moved = moved + 1
  end
end
return reply({moved, #ids == most and at + most - moved})
