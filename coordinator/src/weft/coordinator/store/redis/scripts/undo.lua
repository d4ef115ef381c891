-- Take back what a claim gave whose answer was lost; should it still be on its way, it will give nothing.
--
-- request  {token, seconds to keep it}
-- reads    claim:<token>
-- result   how many attempts were taken back

local raw = call('GET', key('claim', request[1]))
local count = 0
for _, item in ipairs(raw and cmsgpack.unpack(raw) or {}) do
  local t = held(item[1], item[2], item[3], item[4])
  if t then
    give_back(item[3], t)
    count = count + 1
  end
end
call('SET', key('claim', request[1]), cmsgpack.pack({}), 'EX', request[2])
return reply(count)
