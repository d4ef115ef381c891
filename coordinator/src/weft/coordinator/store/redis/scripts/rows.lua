-- The scripts of the table (table_store.py), one function each. A script is this file and a call of its function, whose result
-- is the reply's. A row is msgpack of {revision, when it is due or false, value}.

local function row_of(kind, name)
  local raw = call('HGET', key('rows', kind), name)
  return raw and cmsgpack.unpack(raw)
end

-- Write rows and delete rows, each by itself if it has the expected revision.
--
-- request  {most rows of a kind, {{kind, key, value or false (delete it), when it is due or false, expected revision or false}…}}
-- writes   rows:, row_order:, row_due:, row_kinds, row_revision
-- result   for each {how: 0 done, 1 another revision, 2 too many rows, 3 no such row to delete; revision}
local function change_rows()
  local most, results = request[1], {}
  for index, change in ipairs(request[2]) do
    local kind, name, value, due, expected = unpack(change)
    local row = row_of(kind, name)
    local present = row and row[1] or 0
    if expected and expected ~= present then
      results[index] = {1, present}
    elseif not value and not row then
      results[index] = {3, 0}
    elseif value and not row and call('HLEN', key('rows', kind)) >= most then
      results[index] = {2, 0}
    else
      local revision = next_revision(kind)
      if value then
        call('HSET', key('rows', kind), name, cmsgpack.pack({revision, due, value}))
        call('ZADD', key('row_order', kind), 0, name)
      else
        call('HDEL', key('rows', kind), name)
        call('ZREM', key('row_order', kind), name)
      end
      if value and due then
        call('ZADD', key('row_due', kind), score(due), name)
      else
        call('ZREM', key('row_due', kind), name)
      end
      results[index] = {0, revision}
    end
  end
  return results
end

-- Read rows, one after the other until their values have so many bytes; at least one.
local function rows_of(kind, names, most_bytes)
  local found, size = {}, 0
  for _, name in ipairs(names) do
    if size > most_bytes then
      break
    end
    local row = row_of(kind, name)
    if row then
      size = size + #row[3]
      found[#found + 1] = {name, row[1], row[2], row[3]}
    end
  end
  return found
end

-- Read a page of a kind's rows, in the order of their keys.
--
-- request  {kind, the key to go on behind, '' at first, most rows, most bytes}
-- result   {{{key, revision, when it is due or false, value}…}, whether there are more}
local function list_rows()
  local kind, behind, most = request[1], request[2], request[3]
  local names = call('ZRANGEBYLEX', key('row_order', kind), behind == '' and '-' or '(' .. behind, '+', 'LIMIT', 0, most + 1)
  local more = #names > most
  names[most + 1] = nil
  local found = rows_of(kind, names, request[4])
  return {found, more or #found < #names}
end

-- Read due rows of a kind, earliest first.
--
-- request  {kind, most rows, most bytes}
-- result   {{{key, revision, when it is due, value}…}, when the next one is due or false, now}
local function due_rows()
  local kind, most = request[1], request[2]
  local names = call('ZRANGEBYSCORE', key('row_due', kind), '-inf', score(now), 'LIMIT', 0, most)
  local found = rows_of(kind, names, request[3])
  local following = call('ZRANGE', key('row_due', kind), #found, #found, 'WITHSCORES')
  return {found, following[2] and tonumber(following[2]) or false, now}
end

-- Read rows by their keys.
--
-- request  {kind, {key…}}
-- result   {{key, revision, when it is due or false, value}…} of those that there are
local function get_rows()
  return rows_of(request[1], request[2], math.huge)
end
