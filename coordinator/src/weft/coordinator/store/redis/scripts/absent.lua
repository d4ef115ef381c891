-- A coordinator stops.
--
-- result   nothing

call('ZREM', all('live'), ARGV[2])
return reply(false)
