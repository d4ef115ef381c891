-- Undo a claim whose answer was lost. If the claim has not arrived yet, it will give nothing.
--
-- request  {token, seconds to keep it}
-- reads    claim:<token>
-- result   number of released attempts

local raw = call('GET', key('claim', request[1]))
local count = 0
for _, item in ipairs(raw and cmsgpack.unpack(raw) or {}) do
  local t = running(item[1], item[2], item[3], item[4])
  if t then
    release(item[3], t)
    count = count + 1
  end
end
call('SET', key('claim', request[1]), cmsgpack.pack({}), 'EX', request[2])
return reply(count)
