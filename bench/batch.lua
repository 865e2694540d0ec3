-- /v1/batch with 100 events each, over 50,000 emails.
local count = 0
local person = 0
local headers = {["Authorization"] = "Basic c2VnbWVudC1rZXk6", ["Content-Type"] = "application/json"}
local template = '{"type":"identify","userId":"user-%d","messageId":"b-%d","timestamp":"%s",'
  .. '"traits":{"email":"jane.doe.%d@example.com","plan":"premium","logins":%d,"Preferred name":"Jane"}}'

function request()
  local events = {}
  for place = 1, 100 do
    count = count + 1
    person = (person + 7919) % 50000
    local at = os.date("!%Y-%m-%dT%H:%M:%S", 1700000000 + count) .. ".000Z"
    events[place] = string.format(template, person, count, at, person, count)
  end
  return wrk.format("POST", "/v1/batch", headers, '{"batch":[' .. table.concat(events, ",") .. "]}")
end
