-- Keep a contract and put it in force for these methods.
--
-- request  {digest, descriptor set, {method…}}
-- writes   contracts, order, hosted, catalogue
-- result   nothing

if call('HSETNX', all('contracts'), request[1], request[2]) == 1 then
  call('RPUSH', all('order'), request[1])
end
for _, method in ipairs(request[3]) do
  call('HSET', all('hosted'), method, request[1])
end
call('HDEL', all('unused'), request[1])
call('INCR', all('catalogue'))
woke = true
return reply(false)
