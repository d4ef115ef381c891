-- A coordinator is there: the others' scripts tell it what they change.
--
-- request  {seconds for which this holds}
-- result   whether it was not, and has not been told of everything

local known = call('ZSCORE', all('live'), ARGV[2])
-- First: a Redis without memory refuses it. It would take it from a script that has removed something.
call('ZADD', all('live'), string.format('%.17g', now + request[1]), ARGV[2])
call('ZREMRANGEBYSCORE', all('live'), '-inf', string.format('%.17g', now))
return reply(not known or tonumber(known) <= now)
