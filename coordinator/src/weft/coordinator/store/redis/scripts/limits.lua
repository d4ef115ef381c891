-- Run limits and locks, for operators: each function is a script.

-- Whether an attempt at a task of this method runs.
local function is_running(method)
  for _, queue in ipairs(call('HKEYS', all('running'))) do
    if string.match(queue, '^[^\n]*') == method then
      return true
    end
  end
  return false
end

-- First step of new limits: attempts count at their gates, which have room for any number. `count_running` counts those that run
-- already, then `set_limits` gives the limits their numbers.
--
-- request  {method, {key expression → rule}}
-- result   whether attempts run that were not counted
local function prepare_limits()
  local method, given = request[1], request[2]
  limited = true
  call('SET', all('limited'), 1)
  local rules, new = open_gates().rules(method) or {}, false
  for expression, rule in pairs(given) do
    if not rules[expression] then
      rules[expression] = {false, false, rule[3], LIMIT_QUEUE, rule[5], rule[6]}
      new = true
    end
  end
  if new then
    call('HSET', all('limits'), method, cmsgpack.pack(rules))
  end
  return new and is_running(method)
end

-- Count running attempts of these sessions at the gates of a method.
--
-- request  {method, {session…}}
-- result   nothing
local function count_running()
  for _, name in ipairs(request[2]) do
    for _, id in ipairs(call('SMEMBERS', key('held', name))) do
      local t = load(id)
      if string.match(t.q, '^[^\n]*') == request[1] then
        open_gates().count_in(id, t)
        save(id, t)
      end
    end
  end
  return false
end

-- Replace the limits of a method, and look at its parked tasks.
--
-- request  {method, {key expression → {most running or false, rate or false, size of the bucket, action, grace, burst}}}
-- result   nothing
local function set_limits()
  open_gates().change(request[1], request[2])
  open_gates().look(1)
  woke = true
  return false
end

-- List locks that are held or waited for, by name.
--
-- request  {the lock to go on behind, '' at first; most locks; a lock, or false: all; most holders}
-- reads    locks, gate:, holders:, t:
-- result   {{name, waiting, held exclusively, {{id, agent, since}…}}…}, and the lock to go on behind or false
local function list_locks()
  local behind, most = request[1], request[2]
  local names = request[3] and {'l' .. request[3]}
    or call('ZRANGEBYLEX', all('locks'), behind == '' and '-' or '(' .. behind, '+', 'LIMIT', 0, most)
  local found = {}
  for _, name in ipairs(names) do
    local raw = call('GET', key('gate', name))
    if raw then
      local s, holders = cmsgpack.unpack(raw), {}
      for index, id in ipairs(call('SRANDMEMBER', key('holders', name), request[4])) do
        local t = load(id)
        holders[index] = {id, t.oa, t.st}
      end
      found[#found + 1] = {string.sub(name, 2), s.w + (s.r or 0), s.x or false, holders}
    end
  end
  return {found, not request[3] and #names == most and names[most]}
end
