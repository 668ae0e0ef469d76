"""What Redis does with the hash of a session in one step.

A hash has the fields `e` (etag), `x` (when the session expires), `u` (whose it is), `h` (head), `n` (its bytes), for
each block `d` + id (its place) and `b` + id (its body), for each frame `f` + version, and `l`, the lease of whoever may
fill it: see `entry.py`. A hash has content if it has `e`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script that treats each of its keys alike."""

    text: str
    sha: str


def script(text: str) -> Script:
    """A script with the name that Redis gives it."""
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


LEASE = script("""
for i, key in ipairs(KEYS) do
  redis.call('UNLINK', key)
  redis.call('HSET', key, 'l', ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
return #KEYS
""")
"""ARGV: milliseconds; for each key a lease. Whatever was there is gone, also an earlier lease."""

FILL = script("""
if redis.call('HGET', KEYS[1], 'l') ~= ARGV[2] then
  return 0
end
redis.call('UNLINK', KEYS[1])
local size = 0
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  size = size + #ARGV[i + 1]
end
redis.call('HSET', KEYS[1], 'n', size)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")
"""ARGV: milliseconds, the lease, fields and values. A drop or a write since has taken the lease away."""

APPEND = script("""
local most, kept = tonumber(ARGV[2]), 0
for i, key in ipairs(KEYS) do
  local at = 5 * i - 2
  local now = redis.pcall('HGET', key, 'e')
  if not now then
    redis.call('HDEL', key, 'l')
  elseif now.err or string.sub(now, 13) ~= ARGV[at] then
    redis.call('UNLINK', key)
  else
    local size = redis.pcall('HINCRBY', key, 'n', #ARGV[at + 3])
    if type(size) == 'table' and string.sub(size.err, 1, 3) ~= 'ERR' then
      return size
    end
    if type(size) == 'table' or size > most then
      redis.call('UNLINK', key)
    else
      redis.call('HSET', key, 'e', ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
      if ARGV[at + 4] ~= '' then
        redis.call('HSET', key, 'x', ARGV[at + 4])
      end
      redis.call('PEXPIRE', key, ARGV[1])
      kept = kept + 1
    end
  end
end
return kept
""")
"""ARGV: milliseconds, the most bytes of a hash; for each key the parent's etag, `e`, a frame's field and value,
and `x`, empty where the session expires when it did before.

What is at another etag than the parent's is dropped, as is what is no hash of ours; an error is one of Redis. Where
there is no content the lease goes: who holds it has read what is the past by now.
"""

MOVE = script("""
local head = redis.pcall('HGET', KEYS[1], 'h')
if not head then
  redis.call('HDEL', KEYS[1], 'l')
  return 0
end
local base = tonumber(ARGV[4])
if head.err or string.sub(head, 14, 13 + #ARGV[3]) ~= ARGV[3] then
  return redis.call('UNLINK', KEYS[1]) - 1
end
local before = struct.unpack('<I8', head, 5)
local now = redis.call('HGET', KEYS[1], 'e') or ''
local size = tonumber(redis.call('HGET', KEYS[1], 'n') or '')
if #now < 20 or struct.unpack('<I8', now, 13) < base or not size or base - before > 100000 then
  return redis.call('UNLINK', KEYS[1]) - 1
end
local function remove(field)
  size = size - redis.call('HSTRLEN', KEYS[1], field)
  redis.call('HDEL', KEYS[1], field)
end
for version = before + 1, base do
  remove('f' .. string.format('%.0f', version))
end
local added = 6 + tonumber(ARGV[5])
for i = 6, added - 1 do
  remove(ARGV[i])
end
size = size - #head
for i = added, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  size = size + #ARGV[i + 1]
end
if size > tonumber(ARGV[2]) then
  return redis.call('UNLINK', KEYS[1]) - 1
end
redis.call('HSET', KEYS[1], 'n', size)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")
"""ARGV: milliseconds, the most bytes, the stamp of the head before, the base of the new one, how many fields go, those,
and fields and values that come, `h` among them. As APPEND, it takes a lease away."""

LATER = script("""
local now = redis.call('HGET', KEYS[1], 'e')
if not now then
  return {}
end
local found = {'e', now}
if #now < 20 then
  return found
end
for _, field in ipairs({'x', 'u', 'h'}) do
  found[#found + 1] = field
  found[#found + 1] = redis.call('HGET', KEYS[1], field) or ''
end
for version = tonumber(ARGV[1]) + 1, struct.unpack('<I8', now, 13) do
  local field = 'f' .. string.format('%.0f', version)
  local frame = redis.call('HGET', KEYS[1], field)
  if not frame then
    break
  end
  found[#found + 1] = field
  found[#found + 1] = frame
end
return found
""")
"""ARGV: a version. Fields and values: those of the session, and the frames after that version."""

TAIL = script("""
local found, places = {}, {}
local function give(field)
  found[#found + 1] = field
  found[#found + 1] = redis.call('HGET', KEYS[1], field)
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local kind = string.sub(field, 1, 1)
  if kind ~= 'b' then
    give(field)
  end
  if kind == 'd' and #found[#found] >= 16 then
    local records, position = struct.unpack('<I4i8', found[#found], 5)
    places[#places + 1] = {string.sub(found[#found], 17), position, records, string.sub(field, 2)}
  end
end
table.sort(places, function(a, b)
  if a[1] ~= b[1] then
    return a[1] < b[1]
  end
  return a[2] > b[2]
end)
local after = {}
for _, place in ipairs(places) do
  local records = after[place[1]] or 0
  if place[3] == 0 or records < tonumber(ARGV[1]) then
    give('b' .. place[4])
  end
  after[place[1]] = records + place[3]
end
return found
""")
"""ARGV: so many last records of each list. Fields and values, without the bodies of blocks before those."""
