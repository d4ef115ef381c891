-- Agents that have changed since a version of the fleet, some at a time, and others that are asked for by name.
--
-- request  {version, most agents, whether this goes on with a reading of all, {agent…}}
-- reads    fleet, floor, changes, agents, about, desired, views, owners
-- result   {version up to which these are all, whether all are read anew, whether there are more,
--          {{agent, last session or false, description, desired state or false, view or false}…}}

-- What one answer should carry, about.
local MOST_BYTES = 1048576

local since, most, reading = request[1], request[2], request[3]
local newest = tonumber(call('GET', all('fleet')) or '0')
if not reading and (since < tonumber(call('GET', all('floor')) or '0') or since > newest) then
  -- Agents were forgotten that are not remembered any more, or Redis has lost something.
  since, reading = 0, true
end

local found, size = {}, 0
local function add(agent)
  local raw = call('HGET', all('agents'), agent)
  local item = {agent, raw, '', false, false}
  if raw then
    local last = cmsgpack.unpack(raw)
    local ends_at = last.o and call('ZSCORE', all('owners'), session(agent, last.e))
    item[3] = call('HGET', all('about'), agent) or ''
    item[4] = tonumber(call('HGET', all('desired'), agent)) or false
    -- How its coordinator sees it is believed while that keeps its lease.
    item[5] = ends_at and tonumber(ends_at) > now and call('HGET', all('views'), agent) or false
    size = size + #item[3] + (item[5] and #item[5] or 0)
  end
  found[#found + 1] = item
end

for _, agent in ipairs(request[4]) do
  add(agent)
end
local changes = call('ZRANGEBYSCORE', all('changes'), '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local more = false
for at = 1, #changes, 2 do
  if size > MOST_BYTES then
    more = true
    break
  end
  add(changes[at])
  since = tonumber(changes[at + 1])
end
more = more or #changes == 2 * most
return reply({more and since or newest, reading, more, found})
