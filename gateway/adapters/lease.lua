-- GCRA over several limits at once, all or nothing, by the server's clock, in integer microseconds.
-- KEYS: one TAT each. ARGV: wanted, least, then for each key: emission_us, quota_rows.
-- A negative `wanted` gives rows back. Returns {granted, remaining, retry_us, now_us}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wanted, least = tonumber(ARGV[1]), tonumber(ARGV[2])
local granted, remaining, retry = wanted, nil, 0
local aheads = {}
for i = 1, #KEYS do
  local emission, quota = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local ahead = math.max(0, (tonumber(redis.call('GET', KEYS[i])) or 0) - now)
  -- More was never granted: the clock was set back, or the limit was lowered.
  ahead = math.min(ahead, quota * emission)
  local available = math.floor((quota * emission - ahead) / emission)
  aheads[i] = ahead
  granted = math.min(granted, available)
  remaining = math.min(remaining or available, available)
  retry = math.max(retry, ahead + least * emission - quota * emission)
end
if wanted >= 0 and granted < least then
  return {0, math.max(0, remaining), retry, now}
end
for i = 1, #KEYS do
  local ahead = aheads[i] + granted * tonumber(ARGV[2 * i + 1])
  if ahead > 0 then
    -- 16 digits: the number's own form would round to 14
    redis.call('SET', KEYS[i], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000) + 1)
  else
    redis.call('DEL', KEYS[i])
  end
end
return {granted, remaining - granted, 0, now}
