-- Forget contracts that no agent hosts and no unfinished task needs, once that has been so for long.
--
-- request  {version of the fleet that the agents below are known by, {digest…} that agents have, {method…} that they host,
--          seconds}
-- reads    fleet, order, hosted, queues
-- writes   unused; contracts, order, hosted, catalogue
-- result   {digest…} that are forgotten; false: the fleet has changed

if tonumber(call('GET', all('fleet')) or '0') ~= request[1] then
  return reply(false)
end
local needed, busy = {}, {}
for _, digest in ipairs(request[2]) do
  needed[digest] = true
end
for _, method in ipairs(request[3]) do
  busy[method] = true
end
for _, queue in ipairs(call('HKEYS', all('queues'))) do
  busy[string.match(queue, '^[^\n]*')] = true
end
local methods_of, hosted = {}, call('HGETALL', all('hosted'))
for at = 1, #hosted, 2 do
  local method, digest = hosted[at], hosted[at + 1]
  methods_of[digest] = methods_of[digest] or {}
  table.insert(methods_of[digest], method)
  needed[digest] = needed[digest] or busy[method]
end

local forgotten = {}
for _, digest in ipairs(call('LRANGE', all('order'), 0, -1)) do
  if needed[digest] then
    call('HDEL', all('unused'), digest)
  else
    call('HSETNX', all('unused'), digest, string.format('%.17g', now))
    if now - tonumber(call('HGET', all('unused'), digest)) >= request[4] then
      call('HDEL', all('contracts'), digest)
      call('HDEL', all('unused'), digest)
      call('LREM', all('order'), 0, digest)
      for _, method in ipairs(methods_of[digest] or {}) do
        call('HDEL', all('hosted'), method)
      end
      forgotten[#forgotten + 1] = digest
    end
  end
end
if #forgotten > 0 then
  call('INCR', all('catalogue'))
  woke = true
end
return reply(forgotten)
