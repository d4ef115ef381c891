-- Keep a method's tasks from being claimed, or let them go on.
--
-- request  {method, whether paused}
-- result   nothing

call(request[2] and 'SADD' or 'SREM', all('paused'), request[1])
call('INCR', all('pauses'))
woke = not request[2]
return reply(false)
