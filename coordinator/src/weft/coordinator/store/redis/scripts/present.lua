-- A coordinator is there: the others' scripts tell it what they change.
--
-- request  {seconds for which this holds}
-- result   number of coordinators that are there

call('ZREMRANGEBYSCORE', all('live'), '-inf', string.format('%.17g', now))
call('ZADD', all('live'), string.format('%.17g', now + request[1]), ARGV[2])
return reply(call('ZCARD', all('live')))
