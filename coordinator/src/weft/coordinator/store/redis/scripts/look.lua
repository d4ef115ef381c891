-- A coordinator is there, and looks for what no event told: the others' scripts tell it what they change from now on.
--
-- request  {seconds for which this holds, version of `pauses` that is known, revision of the queues that is known,
--          most queues}
-- reads    fleet, catalogue, pauses, paused, moves, moved, ready:
-- writes   live
-- result   {whether it was not there, and has not been told of everything; the time; versions of fleet and catalogue;
--          version of `pauses`; {method…} that are paused, or false: those that are known; revision; whether the queues
--          are told anew; whether there are more; {{queue, ready tasks}…} that have changed and hold some}

local known = call('ZSCORE', all('live'), ARGV[2])
-- First: a Redis without memory refuses it. It would take it from a script that has removed something.
call('ZADD', all('live'), string.format('%.17g', now + request[1]), ARGV[2])
call('ZREMRANGEBYSCORE', all('live'), '-inf', string.format('%.17g', now))

local fleet, catalogue, pauses, moves = unpack(call('MGET', all('fleet'), all('catalogue'), all('pauses'), all('moves')))
pauses, moves = tonumber(pauses or '0'), tonumber(moves or '0')
local paused = pauses ~= request[2] and call('SMEMBERS', all('paused')) or false

local since, most = request[3], request[4]
if since > moves then
  -- Redis has lost something.
  since = 0
end
local anew = since == 0
local depths = {}
local moved = call('ZRANGEBYSCORE', all('moved'), '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
for at = 1, #moved, 2 do
  depths[#depths + 1] = {moved[at], call('ZCARD', key('ready', moved[at]))}
  since = tonumber(moved[at + 1])
end
local more = #depths == most
return reply({
  not known or tonumber(known) <= now, now, tonumber(fleet or '0'), tonumber(catalogue or '0'), pauses, paused,
  more and since or moves, anew, more, depths,
})
