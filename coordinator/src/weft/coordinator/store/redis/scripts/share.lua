-- Let other coordinators see agents as this one does, for some seconds.
--
-- request  {seconds, whether others are to look at once, {{agent, view}…}}
-- result   nothing

for _, item in ipairs(request[3]) do
  call('SET', key('view', item[1]), item[2], 'PX', request[1] * 1000)
end
if request[2] then
  fleet_changed()
end
return reply(false)
