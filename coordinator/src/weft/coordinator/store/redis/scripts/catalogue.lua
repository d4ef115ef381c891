-- Which contracts there are, and for which methods each is in force.
--
-- request  {version of the catalogue that is known}
-- reads    catalogue, order, hosted
-- result   false: that is the present one; {version, {digest…} oldest first, {method, digest…}}

local version = tonumber(call('GET', all('catalogue')) or '0')
if version == request[1] then
  return reply(false)
end
return reply({version, call('LRANGE', all('order'), 0, -1), call('HGETALL', all('hosted'))})
