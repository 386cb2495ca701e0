-- Load for wrk at a steady pace: wrk -s network.lua URL -- write|read PATH KEYS PAUSE_MS
--
-- The requests of records.lua; each connection waits PAUSE_MS after an answer.

dofile("bench/records.lua")

local prepare = init
local pause

function init(args)
  prepare(args)
  pause = tonumber(args[4])
end

function delay()
  return pause
end
