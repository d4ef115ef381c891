-- Groups of tasks (group_store.py): counts by state, which the tasks' moves change, and the end of a group.
--
-- Made at first use: without groups, a script pays for nothing of it.

function open_groups()
  if groups then
    return groups
  end
  local self, uids, states, news = {}, {}, {}, {}

  -- The uid of the group with this name, or false.
  function self.uid(name)
    local uid = uids[name]
    if uid == nil then
      uid = call('HGET', all('group_ids'), name)
      uids[name] = uid
    end
    return uid
  end

  -- The state of a group, or false: it was forgotten.
  function self.state(uid)
    local s = states[uid]
    if s == nil then
      local raw = call('GET', key('group', uid))
      s = raw and cmsgpack.unpack(raw)
      states[uid] = s
    end
    return s
  end

  -- Coordinators hear that groups have changed.
  function self.announce()
    next_revision('groups')
  end

  local function kept_until(s)
    return s.x and s.at + (s.en and GROUP_ENDED_KEPT_S or GROUP_OPEN_KEPT_S) or 0
  end

  local function look_at(uid, at)
    call('ZADD', all('group_looks'), score(at), uid)
    due_at(at)
  end

  -- -- tasks ----------------------------------------------------------------------------------------------------------

  local function size(s)
    local total = 0
    for _, count in ipairs(s.n) do
      total = total + count
    end
    return total
  end

  -- Why a new task cannot join the group of this name, as a result of enqueue.lua; nil: it can.
  function self.refusal(name, most_groups, most_members)
    local uid = self.uid(name)
    if not uid then
      return call('HLEN', all('group_ids')) >= most_groups and {7, name, most_groups} or nil
    end
    local s = self.state(uid)
    if s.cl then
      return {5, name}
    end
    return size(s) >= most_members and {6, name, most_members} or nil
  end

  -- A new task joins a group; the first one makes it.
  function self.join(id, t, name)
    local uid = self.uid(name)
    if not uid then
      uid = id
      self.make(name, uid, nil)
    end
    t.gr, t.gu = name, uid
    call('ZADD', key('members', uid), 0, id)
  end

  -- A task has another state. `before`: nil if it is new.
  function self.moved(t, before, after)
    local s = self.change(t.gu)
    if s then
      if before then
        s.n[before] = s.n[before] - 1
      end
      s.n[after] = s.n[after] + 1
    end
  end

  -- -- groups ---------------------------------------------------------------------------------------------------------

  -- `created`: by create_group.
  function self.make(name, uid, created)
    local s = {m = name, c = now, x = created, n = {0, 0, 0, 0, 0, 0}}
    uids[name], states[uid], news[uid] = uid, s, true
    call('HSET', all('group_ids'), name, uid)
    call('ZADD', all('groups'), 0, name)
    if created then
      look_at(uid, now + GROUP_OPEN_KEPT_S)
    end
    return s
  end

  -- The state of a group that this script changes, or false.
  function self.change(uid)
    local s = self.state(uid)
    news[uid] = s and true
    return s
  end

  function self.unfinished(s)
    return s.n[SCHEDULED] + s.n[QUEUED] + s.n[RUNNING]
  end

  local function forget_name(s, uid)
    if not s.del then
      call('HDEL', all('group_ids'), s.m)
      call('ZREM', all('groups'), s.m)
      uids[s.m] = false
      if not s.en then
        -- Callers may wait for its end.
        self.announce()
      end
    end
  end

  -- Take a group's name.
  function self.drop_name(uid)
    local s = self.change(uid)
    forget_name(s, uid)
    s.del = true
    call('ZREM', all('group_dues'), uid)
    call('DEL', key('note', uid))
    self.look(uid)
  end

  -- -- forgetting -----------------------------------------------------------------------------------------------------

  -- Forget a group that is not kept any more.
  function self.look(uid)
    call('ZREM', all('group_looks'), uid)
    local s = self.state(uid)
    if not s or call('EXISTS', key('members', uid)) == 1 then
      return
    end
    if s.cl and call('ZSCORE', all('group_dues'), uid) then
      -- `change_groups` looks again.
      return
    end
    local at = s.del and 0 or kept_until(s)
    if at > now then
      look_at(uid, at)
      return
    end
    forget_name(s, uid)
    call('DEL', key('group', uid), key('note', uid))
    call('ZREM', all('group_dues'), uid)
    states[uid], news[uid] = false, nil
  end

  -- A task is forgotten.
  function self.forget(id, t)
    call('ZREM', key('members', t.gu), id)
    self.look(t.gu)
  end

  function self.look_due(most)
    for _, uid in ipairs(call('ZRANGEBYSCORE', all('group_looks'), '-inf', score(now), 'LIMIT', 0, most)) do
      self.look(uid)
    end
  end

  -- Store the changed states, and end groups.
  function self.flush()
    for uid in pairs(news) do
      local s = states[uid]
      if self.unfinished(s) > 0 then
        -- If it had ended, a task was queued again.
        s.en = nil
      elseif s.cl and not s.en then
        s.en = now
        if call('ZSCORE', all('group_dues'), uid) == 'inf' then
          call('ZADD', all('group_dues'), score(now), uid)
        end
        self.announce()
      end
      s.at = now
      if s.en and s.x then
        look_at(uid, kept_until(s))
      end
      call('SET', key('group', uid), cmsgpack.pack(s))
    end
  end

  groups = self
  return self
end
