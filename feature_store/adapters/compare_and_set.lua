-- KEYS[1]: an entity's hash. ARGV[1]: what to do.
--   newer, field, record: keep the record with the greater (event, created, seq).
--     1 written, 0 the present one is greater or equal, 2 rows wait in the present value.
--   swap, field, guarded, guard, n, then n times field and value, then fields to delete:
--     writes only if the present value is absent (guarded = 0), begins with the guard (1), or is
--     the guard (2).
--     1 written, 0 somebody else wrote.
local key, present = KEYS[1], redis.call('HGET', KEYS[1], ARGV[2])
if ARGV[1] == 'newer' then
  local record = ARGV[3]
  if present then
    if math.floor(string.byte(present, 33) / 2) % 2 == 1 then return 2 end
    -- event, created, seq as low and high halves: a Lua number holds no whole int64
    local a = {struct.unpack('<I4i4I4i4I4i4', present)}
    local b = {struct.unpack('<I4i4I4i4I4i4', record)}
    local greater = false
    for _, i in ipairs({2, 1, 4, 3, 6, 5}) do
      if a[i] ~= b[i] then
        greater = b[i] > a[i]
        break
      end
    end
    if not greater then return 0 end
  end
  redis.call('HSET', key, ARGV[2], record)
  return 1
end
local guard = ARGV[4]
if ARGV[3] == '0' then
  if present then return 0 end
elseif ARGV[3] == '2' then
  if present ~= guard then return 0 end
elseif not present or string.sub(present, 1, #guard) ~= guard then
  return 0
end
local pairs_end = 5 + 2 * tonumber(ARGV[5])
for i = 6, pairs_end, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
for i = pairs_end + 1, #ARGV do redis.call('HDEL', key, ARGV[i]) end
return 1
