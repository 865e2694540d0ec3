-- Identify calls of about 900 bytes with their headers, half of them about new people, the others about earlier ones.
-- BENCH_FORM: identify, batch (/v1/batch) or array; BENCH_EVENTS: events in a request; BENCH_SEED: the first person.
local form = os.getenv("BENCH_FORM") or "identify"
local per_request = tonumber(os.getenv("BENCH_EVENTS") or "1")
local first = tonumber(os.getenv("BENCH_SEED") or "0")
local count, people = 0, 0
local path = form == "batch" and "/v1/batch" or "/identify"
local headers = {["Authorization"] = "Basic c2VnbWVudC1rZXk6", ["Content-Type"] = "application/json"}
local template = '{"type":"identify","userId":"user-%d","anonymousId":"507f191e810c19729d-%d","messageId":"ajs-%d",'
  .. '"traits":{"name":"Jane Doe","email":"jane.doe.%d@example.com","plan":"premium","logins":%d,'
  .. '"company":{"name":"Initech","employees":50,"industry":"Manufacturing"},'
  .. '"address":{"street":"1 Main Street","city":"Springfield","postalCode":"12345","country":"USA"},'
  .. '"title":"Vice President","phone":"+1-555-0100","Number of contacts":%d,"Is professional":true,'
  .. '"Last contacted":"2021-05-04","Preferred name":"Jane"},'
  .. '"context":{"ip":"8.8.8.8","userAgent":"Mozilla/5.0 (Macintosh)","library":{"name":"analytics.js","version":"3.8.2"}},'
  .. '"integrations":{"All":true},"channel":"client","version":"1.1","sentAt":"%s","timestamp":"%s"}'

local function event()
  count = count + 1
  local person
  if count % 2 == 1 then
    people = people + 1
    person = people
  else
    person = 1 + count * 7919 % people
  end
  person = first + person
  local at = os.date("!%Y-%m-%dT%H:%M:%S", 1700000000 + count) .. ".000Z"
  return string.format(template, person, person, count, person, count, count % 6000, at, at)
end

function request()
  if form == "identify" then return wrk.format("POST", path, headers, event()) end
  local events = {}
  for place = 1, per_request do events[place] = event() end
  local array = "[" .. table.concat(events, ",") .. "]"
  return wrk.format("POST", path, headers, form == "batch" and '{"batch":' .. array .. "}" or array)
end
