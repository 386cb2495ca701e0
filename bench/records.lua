-- Load for wrk: wrk -s records.lua URL -- write|read PATH KEYS
--
-- Each request writes or reads one of KEYS records at random. At the end one line of JSON says
-- what happened, times in microseconds.

local MESSAGE = string.rep("m", 64)

local head, tail, keys

function init(args)
  local kind, path = args[1], args[2]
  keys = tonumber(args[3])
  -- A whole request is made once, then only its key is replaced.
  local mark = "KKKKKKKK"
  local text
  if kind == "write" then
    local body = '{"id":"' .. mark .. '","msg":"' .. MESSAGE .. '"}'
    text = wrk.format("POST", path, { ["content-type"] = "application/json" }, body)
  else
    text = wrk.format("GET", path .. "?id=" .. mark, {}, nil)
  end
  local first, last = string.find(text, mark, 1, true)
  head, tail = string.sub(text, 1, first - 1), string.sub(text, last + 1)
  math.randomseed(42)
end

function request()
  return head .. string.format("%08d", math.random(0, keys - 1)) .. tail
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
