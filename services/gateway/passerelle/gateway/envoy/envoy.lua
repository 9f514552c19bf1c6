-- Runs in Envoy around every request. It tells the services that a request is REST, and turns the metadata that they
-- answer with (runtime/pipeline/stages.py) into HTTP: status and error body. It is listed before the transcoder, so on the
-- way back it sees what the transcoder made. Edits of headers come before the body is touched: Envoy forbids them after.

-- Filled in by lua.py: the names of headers, by those in runtime/headers.py; of every surface, by its name, whether it speaks
-- HTTP/1.0, and its error bodies by gRPC status, where MESSAGE stands for the message.
local HEADERS = { --[[ HEADERS ]] }
local SURFACES = { --[[ SURFACES ]] }
local ROOT = --[[ ROOT ]]
local MESSAGE = --[[ MESSAGE ]]

-- First path segments of surfaces whose paths are read in any case; request fields that are lists, and those that some path
-- carries, by their JSON names.
local CASELESS = { --[[ CASELESS ]] }
local LISTS = { --[[ LISTS ]] }
local VARIABLES = { --[[ VARIABLES ]] }

local INTERNAL = {
  HEADERS.HTTP_STATUS, HEADERS.ERROR_BODY, HEADERS.STREAM_LENGTH,
  "grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-accept-encoding", "grpc-encoding",
}

-- Where it is kept, in the stream's metadata, that a GET was a HEAD, and that a request came as gRPC or gRPC-Web.
local HEAD = "passerelle.head"
local GRPC = "passerelle.grpc"

local function lower_case_path(handle, headers)
  local path = headers:get(":path")
  local query = path:find("?", 1, true)
  local bare = query and path:sub(1, query - 1) or path
  if not bare:find("%u") then return end
  local first = bare:match("^/([^/]+)")
  if first and CASELESS[first:lower()] then
    headers:replace(":path", bare:lower() .. (query and path:sub(query) or ""))
    handle:clearRouteCache()
  end
end

local function percent_decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- What the path says, no key of a query overrides, however it is spelt or escaped; nor does one where the body says all
-- that the path does not. Of a key that is given twice the last one counts, unless it is a list.
local function tidy_query(handle, headers)
  local path, query = headers:get(":path"):match("^([^?]*)%?(.*)$")
  if not query then return end
  if handle:metadata():get("all_in_body") then
    headers:replace(":path", path)
    return
  end
  local found, last, kept = {}, {}, {}
  for pair in query:gmatch("[^&]+") do
    local key = percent_decoded(pair:match("^[^=]*")):gsub("_(%w)", string.upper)
    found[#found + 1] = { key, pair }
    last[key] = #found
  end
  for number, one in ipairs(found) do
    local key = one[1]
    if not VARIABLES[key] and (LISTS[key] or last[key] == number) then kept[#kept + 1] = one[2] end
  end
  if #kept < #found then headers:replace(":path", path .. "?" .. table.concat(kept, "&")) end
end

-- A request id of the client's that is a word of at most 64 characters stands for the one that Envoy made.
local function take_request_id(headers)
  for _, name in ipairs({ HEADERS.ASKED_ID, HEADERS.CORRELATION_ID }) do
    local id = headers:get(name)
    if id and not (#id <= 64 and id:find("^[%w._:-]+$")) then
      headers:remove(name)
    elseif id and name == HEADERS.ASKED_ID then
      headers:replace(HEADERS.REQUEST_ID, id)
    end
  end
  headers:remove(HEADERS.ASKED_ID)
end

-- A program may show its API key in a header of its own, where others show a token.
local function take_api_key(headers)
  local key = headers:get("x-api-key")
  if not key then return end
  headers:remove("x-api-key")
  if not headers:get("authorization") then headers:replace("authorization", "Bearer " .. key) end
end

-- Whether a request that needs a token shows none, whatever it may be worth: that is answered here and costs nobody more.
local function shows_no_token(handle, headers)
  if not handle:metadata():get("token") then return false end
  local shown = headers:get("authorization")
  return not shown or not shown:find("^%a+%s+%S") or shown:sub(1, 6):lower() ~= "bearer"
end

-- Proxies in front and health checkers may speak HTTP/1.0, which has no chunks: a stream whose length nobody knows could not
-- tell its end from a connection that broke. So only surfaces whose replies are whole are spoken over it. One request a
-- connection, because programs differ in where the body of one ends.
local function refused_over_http_10(handle)
  if handle:streamInfo():protocol() ~= "HTTP/1.0" then return false end
  handle:streamInfo():drainConnectionUponCompletion()
  local surface = SURFACES[handle:metadata():get("surface")]
  return surface and not surface.http_1_0
end

function envoy_on_request(handle)
  local headers = handle:headers()
  take_request_id(headers)
  if not headers:get(":path") then  -- CONNECT: a tunnel to somewhere, which would stay open
    handle:respond({ [":status"] = "405" }, "")
    return
  end
  local host = headers:get(":authority")
  if not host or not host:find("^[%w%-._:%[%]]+$") then  -- such as two of them
    handle:respond({ [":status"] = "400" }, "The Host header is no name of a host.")
    return
  end
  take_api_key(headers)
  local kind = headers:get("content-type")
  local grpc = kind and kind:sub(1, 16) == "application/grpc"
  if grpc then handle:streamInfo():dynamicMetadata():set(GRPC, "called", true) end
  if refused_over_http_10(handle) then
    handle:respond({ [":status"] = "426" }, "")
    return
  end
  if shows_no_token(handle, headers) then
    handle:respond({ [":status"] = "401" }, "")
    return
  end
  if grpc then return end
  lower_case_path(handle, headers)
  tidy_query(handle, headers)
  headers:replace(HEADERS.REST, "1")
  local length = headers:get("content-length")  -- which the transcoder drops
  if length then headers:replace(HEADERS.BODY_LENGTH, length) end
  -- The transcoder knows no HEAD: the service is asked to leave the body out, which can be long.
  if headers:get(":method") == "HEAD" and handle:metadata():get("head") then
    headers:replace(":method", "GET")
    headers:replace(HEADERS.HEAD, "1")
    handle:streamInfo():dynamicMetadata():set(HEAD, "asked", true)
  end
end

local function json_escaped(text)
  return (text:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end))
end

-- The body of an error that did not pass our own interceptors, such as an unknown method.
local function bare_error(handle, grpc_status, message)
  local text = json_escaped(percent_decoded(message or ""))
  local surface = SURFACES[handle:metadata():get("surface") or ROOT]
  local body = surface.bodies[grpc_status] or surface.bodies["2"]
  return (body:gsub(MESSAGE, function() return text end))
end

local function replace_body(handle, text)
  local body = handle:body(true)
  if body then body:setBytes(text) end
end

-- gRPC-Web has the status of a call in fields, too, and takes every HTTP status but 200 for a broken connection. To gRPC
-- itself Envoy answers so already; to gRPC-Web it does not, and what this filter answers itself its own filter never sees.
local REFUSED = { ["400"] = "3", ["401"] = "16" }

local function as_grpc_web(handle, headers)
  local status = headers:get(":status")
  if status == "200" then return end
  if not headers:get("grpc-status") then
    headers:replace("grpc-status", REFUSED[status] or "2")
    headers:replace("content-type", "application/grpc-web+proto")
  end
  headers:replace(":status", "200")
  headers:remove("content-length")
  replace_body(handle, "")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if handle:streamInfo():dynamicMetadata():get(GRPC) then return as_grpc_web(handle, headers) end
  local code, body = headers:get(HEADERS.HTTP_STATUS), headers:get(HEADERS.ERROR_BODY)
  local grpc_status, length = headers:get("grpc-status"), headers:get(HEADERS.STREAM_LENGTH)
  if grpc_status and grpc_status ~= "0" and not body then
    body = bare_error(handle, grpc_status, headers:get("grpc-message"))
  end
  for _, name in ipairs(INTERNAL) do headers:remove(name) end
  local location = headers:get("location")  -- of a redirect of Envoy's: by path alone, whatever host the client named
  if location then headers:replace("location", (location:gsub("^https?://[^/]*", ""))) end
  if code then headers:replace(":status", code) end
  if body then
    headers:replace("content-type", "application/json")
    replace_body(handle, handle:streamInfo():dynamicMetadata():get(HEAD) and "" or body)
  elseif code == "304" then
    headers:remove("content-type")
  elseif code == "204" then
    headers:remove("content-type")
    headers:remove("content-length")
    replace_body(handle, "")
  elseif length then
    -- The transcoder drops the length of a stream that knows its own. Should that stream break off, HTTP/1.1 has no other
    -- word for it than the end of the connection; without it the client waits for the rest.
    headers:replace("content-length", length)
    if handle:streamInfo():protocol() ~= "HTTP/2" then handle:streamInfo():drainConnectionUponCompletion() end
  end
end
