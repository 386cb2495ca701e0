-- Load for wrk: wrk -s requests.lua URL -- FILE
--
-- Sends the requests of FILE at random: each is a line with its length in bytes, then the bytes.
-- At the end one line of JSON says what happened, times in microseconds.

local requests = {}

function init(args)
  local file = assert(io.open(args[1], "rb"))
  while true do
    local line = file:read("*l")
    if line == nil then
      break
    end
    requests[#requests + 1] = file:read(tonumber(line))
  end
  file:close()
  math.randomseed(42)
end

function request()
  return requests[math.random(1, #requests)]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p50_us":%d,"p95_us":%d,"p99_us":%d,"max_us":%d,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout
  ))
end
