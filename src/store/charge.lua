-- Charges every rate limit of one request, or none: the arithmetic of core::ratelimit, by the server's clock.
--
-- KEYS  one for each limit, which holds "NUMBER CURRENT PREVIOUS": what was charged in the cell of that number,
--       counted from the epoch in windows, and in the one before
-- ARGV  '1' to charge, '0' to look only; then limit, window in milliseconds and cost of each limit
--
-- Answers 1 if every limit has room for its cost, else 0; the time in milliseconds; then number, current and
-- previous of each limit as they are now.
--
-- Lua's numbers are doubles, exact below 2^53. Factors are below 2^32, but not their products.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- a * b as the number of times that 2^16 goes into it, and what remains.
local function product(a, b)
  local low = (a % 65536) * b
  return math.floor(a / 65536) * b + math.floor(low / 65536), low % 65536
end

-- Whether a * b <= c * d.
local function at_most(a, b, c, d)
  local high, low = product(a, b)
  local high_bound, low_bound = product(c, d)
  return high < high_bound or (high == high_bound and low <= low_bound)
end

local admitted = 1
local cells = {}
for i, key in ipairs(KEYS) do
  local limit, window, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local cell = { number = math.floor(now / window), current = 0, previous = 0, cost = cost }
  local elapsed, behind = now % window, 0
  local kept = redis.call('GET', key)
  if kept then
    local number, current, previous = string.match(kept, '^(%d+) (%d+) (%d+)$')
    number = tonumber(number)
    if number > cell.number then
      -- The clock has stepped back: as if it stood at the beginning of that cell.
      elapsed, behind = 0, number * window - now
      cell.number, cell.current, cell.previous = number, tonumber(current), tonumber(previous)
    elseif number == cell.number then
      cell.current, cell.previous = tonumber(current), tonumber(previous)
    elseif number == cell.number - 1 then
      cell.previous = tonumber(current)
    end
  end
  local room = limit - cell.current - cost
  if room < 0 or not at_most(cell.previous, window - elapsed, room, window) then
    admitted = 0
  end
  -- Nothing of it counts after the next cell.
  cell.expiry = 2 * window - elapsed + behind
  cells[i] = cell
end

local answer = { admitted, now }
for i, key in ipairs(KEYS) do
  local cell = cells[i]
  if admitted == 1 and ARGV[1] == '1' and cell.cost > 0 then
    cell.current = cell.current + cell.cost
    local value = string.format('%.0f %.0f %.0f', cell.number, cell.current, cell.previous)
    redis.call('SET', key, value, 'PX', string.format('%.0f', cell.expiry))
  end
  answer[3 * i], answer[3 * i + 1], answer[3 * i + 2] = cell.number, cell.current, cell.previous
end
return answer
