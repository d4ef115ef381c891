-- Groups, for callers (group_store.py): each function is a script. A group is told as {uid, name, created, closed or false, ended or
-- false, due or false, note, count of each state…}; a time of 'inf': when it ends.

local function told(uid)
  local s = uid and open_groups().state(uid)
  if not s then
    return false
  end
  local due = call('ZSCORE', all('group_dues'), uid)
  return {
    uid, s.m, s.c, s.cl or false, s.en or false, due, call('GET', key('note', uid)) or '', unpack(s.n)
  }
end

local function told_names(names)
  local found = {}
  for index, name in ipairs(names) do
    found[index] = told(open_groups().uid(name))
  end
  return found
end

-- Make a group, unless there is one of its name.
--
-- request  {name, uid, note, due or false, most groups}
-- writes   group_ids, groups, group:, note:, group_dues, group_looks
-- result   {the group, whether it was there}, or false: there are too many
local function create_group()
  local name, uid = request[1], request[2]
  local known = open_groups().uid(name)
  if known then
    return {told(known), true}
  end
  if call('HLEN', all('group_ids')) >= request[5] then
    return false
  end
  open_groups().make(name, uid, true)
  if request[3] ~= '' then
    call('SET', key('note', uid), request[3])
  end
  if request[4] then
    call('ZADD', all('group_dues'), score(request[4]), uid)
  end
  open_groups().flush()
  return {told(uid), false}
end

-- Read groups by name.
--
-- request  {name…}
-- result   for each: the group or false
local function read_groups()
  return told_names(request)
end

-- Read a page of groups, by name.
--
-- request  {the name to go on behind, '' at first; most groups; most bytes of notes}
-- result   {the groups, the name to go on behind or false}
local function list_groups()
  local behind, most, room = request[1], request[2], request[3]
  local names = call('ZRANGEBYLEX', all('groups'), behind == '' and '-' or '(' .. behind, '+', 'LIMIT', 0, most + 1)
  local found = {}
  for index, name in ipairs(names) do
    if index > most or room < 0 then
      return {found, names[index - 1]}
    end
    found[index] = told(open_groups().uid(name))
    room = room - #found[index][7]
  end
  return {found, false}
end

-- Let a group take no more tasks.
--
-- request  name
-- writes   group:, and what the end of a group writes
-- result   the group or false
local function close_group()
  local uid = open_groups().uid(request)
  local s = uid and open_groups().state(uid)
  if s and not s.cl then
    open_groups().change(uid).cl = now
    open_groups().flush()
  end
  return told(uid)
end

-- Replace notes of groups, each by itself if it is the one that is known.
--
-- request  {{name, its uid, the note that it has, the new note, due or false}…}
-- writes   note:, group_dues, group:, group_looks
-- result   for each: whether it had that note
local function change_groups()
  local results, changed = {}, {}
  for index, change in ipairs(request) do
    local name, uid, known, note, due = unpack(change)
    results[index] = open_groups().uid(name) == uid and (call('GET', key('note', uid)) or '') == known
    if results[index] then
      local s = open_groups().change(uid)
      if due == math.huge and s.en then
        due = now
      end
      call('SET', key('note', uid), note)
      if due then
        call('ZADD', all('group_dues'), score(due), uid)
      else
        call('ZREM', all('group_dues'), uid)
      end
      changed[#changed + 1] = uid
    end
  end
  if changed[1] then
    open_groups().flush()
    for _, uid in ipairs(changed) do
      open_groups().look(uid)
    end
    open_groups().announce()
  end
  return results
end

-- Forget a group that has no unfinished task, and whose note is not due after its end.
--
-- request  name
-- result   0 done, 1 it cannot be deleted yet, 2 there is none
local function delete_group()
  local uid = open_groups().uid(request)
  local s = uid and open_groups().state(uid)
  if not s then
    return 2
  end
  if open_groups().unfinished(s) > 0 or s.cl and call('ZSCORE', all('group_dues'), uid) then
    return 1
  end
  open_groups().drop_name(uid)
  return 0
end

-- Read groups whose note is due, earliest first.
--
-- request  {most groups, most bytes of notes}
-- result   {the groups, when the next one is due or false, now}
local function due_groups()
  local uids = call('ZRANGEBYSCORE', all('group_dues'), '-inf', score(now), 'LIMIT', 0, request[1])
  local found, room = {}, request[2]
  for index, uid in ipairs(uids) do
    if room < 0 then
      break
    end
    found[index] = told(uid)
    room = room - #found[index][7]
  end
  local following = call('ZRANGE', all('group_dues'), #found, #found, 'WITHSCORES')[2]
  return {found, following and following ~= 'inf' and tonumber(following) or false, now}
end
