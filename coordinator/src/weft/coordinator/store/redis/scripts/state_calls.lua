-- The scripts of keyed states (state_store.py), one function each. A script is this file and a call of its function, whose result
-- is the reply's.

-- Change a state from outside, while no task holds its lock.
--
-- request  {name, change as in states.lua, most states}
-- writes   state:, states, state_ends
-- result   {0, the state without its value, or false: it is deleted}; {1, version} it has another version; {2, version} a task holds the
--          lock; {3, 0} there would be too many
local function put_state()
  local name, change, most = unpack(request)
  local before = keyed_states().get(name)
  local version = before and before[1] or 0
  if call('SCARD', key('holders', 'l' .. name)) > 0 then
    return {2, version}
  end
  if change[1] and change[1] ~= version then
    return {1, version}
  end
  if change[2] and keyed_states().is_full(name, most) then
    return {3, 0}
  end
  local state = keyed_states().change(name, before, change, '')
  return {0, state and {state[1], '', state[3], state[4], state[5], ''} or false}
end

-- Change the state of a running attempt before its end.
--
-- request  {agent, task, attempt, change}
-- reads    t:
-- writes   as put_state
-- result   {0, version} done; {1, version} it has another version; {2, 0} the attempt is not the current one, or its task has no state
local function save_state()
  local agent, id, attempt, change = unpack(request)
  local t = load(id)
  if not t or t.s ~= RUNNING or t.a ~= attempt or t.oa ~= agent or not t.ks then
    return {2, 0}
  end
  local before = keyed_states().get(t.ks)
  local version = before and before[1] or 0
  if change[1] ~= version then
    -- As is_repeat of state_store.py.
    local repeated = not change[2] and not before
      or before and before[6] == id and before[2] == change[2] and before[3] == change[3]
    return {repeated and 0 or 1, version}
  end
  local state = keyed_states().change(t.ks, before, change, id)
  return {0, state and state[1] or 0}
end

-- Read a state.
--
-- request  {name}
-- result   the state, or false
local function get_state()
  return keyed_states().get(request[1]) or false
end

-- Read a page of the states whose names begin with a prefix, in the order of their names.
--
-- request  {prefix, the name to go on behind, '' at first, most states, most bytes}
-- result   {{{name, state}…}, the name to go on behind, or ''}
local function list_states()
  local prefix, behind, most, most_bytes = unpack(request)
  local from = behind == '' and '[' .. prefix or '(' .. behind
  local names = call('ZRANGEBYLEX', all('states'), prefix == '' and behind == '' and '-' or from, '+', 'LIMIT', 0, most + 1)
  local found, size, last = {}, 0, ''
  for index, name in ipairs(names) do
    if string.sub(name, 1, #prefix) ~= prefix then
      return {found, ''}
    elseif index > most or size > most_bytes then
      return {found, last}
    end
    local state, raw = keyed_states().get(name)
    if state then
      found[#found + 1] = {name, state}
      size = size + #raw
    end
    last = name
  end
  return {found, ''}
end
