-- Identify calls of about 900 bytes over 50,000 emails, each with a newer time and other values than the last.
local count = 0
local person = tonumber(os.getenv("BENCH_SEED") or "0")
local headers = {["Authorization"] = "Basic c2VnbWVudC1rZXk6", ["Content-Type"] = "application/json"}
local template = '{"type":"identify","userId":"user-%d","anonymousId":"507f191e810c19729d-%d","messageId":"ajs-%d",'
  .. '"traits":{"name":"Jane Doe","email":"jane.doe.%d@example.com","plan":"premium","logins":%d,'
  .. '"company":{"name":"Initech","employees":50,"industry":"Manufacturing"},'
  .. '"address":{"street":"1 Main Street","city":"Springfield","postalCode":"12345","country":"USA"},'
  .. '"title":"Vice President","phone":"+1-555-0100","Number of contacts":%d,"Is professional":true,'
  .. '"Last contacted":"2021-05-04","Preferred name":"Jane"},'
  .. '"context":{"ip":"8.8.8.8","userAgent":"Mozilla/5.0 (Macintosh)","library":{"name":"analytics.js","version":"3.8.2"}},'
  .. '"integrations":{"All":true},"channel":"client","version":"1.1","sentAt":"%s","timestamp":"%s"}'

function request()
  count = count + 1
  person = (person + 7919) % 50000
  local at = os.date("!%Y-%m-%dT%H:%M:%S", 1700000000 + count) .. ".000Z"
  local body = string.format(template, person, person, count, person, count, count % 6000, at, at)
  return wrk.format("POST", "/identify", headers, body)
end
