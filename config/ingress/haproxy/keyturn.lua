-- Keyturn for HAProxy 2.6 and later: asks the verifier whether a request may pass.
--
--   global
--     lua-load /etc/haproxy/keyturn.lua
--   frontend
--     http-request lua.keyturn NAMESPACE/NAME
--
-- KEYTURN_AUTH in HAProxy's environment is the auth port of the verifiers, HOST:PORT.

local auth = os.getenv("KEYTURN_AUTH") or "keyturn-verifier.keyturn-system.svc.cluster.local:8080"
local timeout_ms = 5000

local identity = {
  "x-apikey-id", "x-apikey-name", "x-apikey-namespace", "x-apikey-owner", "x-apikey-environment", "x-apikey-tier",
  "x-apikey-version", "x-apikey-scopes", "x-auth-would-deny",
}
-- What the client is told when a request passes, too.
local fields = { "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy" }
local refusal = { "content-type", "cache-control", "x-auth-code", "x-auth-status", "x-request-id", "www-authenticate", "retry-after" }
-- Of the connection, not of the request.
local hop_by_hop = {
  "connection", "upgrade", "keep-alive", "te", "trailer", "transfer-encoding", "content-length", "expect", "host",
  "proxy-connection", "http2-settings",
}

-- WebSockets pass, and nothing else that a connection may turn into: through one that became HTTP/2 (h2c), requests would
-- reach the backend that nobody has judged.
local function keep_no_upgrade_but_websocket(http, values)
  http:req_del_header("upgrade")
  http:req_del_header("http2-settings")
  if values and #values == 0 and values[0] and values[0]:lower() == "websocket" then
    http:req_set_header("upgrade", "websocket")
  end
end

local unavailable = '{"type":"https://keyturn.dev/problems/unavailable","title":"Unavailable","status":503,'
  .. '"detail":"The request cannot be judged at the moment; try again shortly.","code":"UNAVAILABLE","requestId":"%s"}'

local function first(headers, name)
  local values = headers and headers[name]
  return values and (values[0] or values[1])
end

-- Refuses the request. HEAD is answered without a body.
local function refuse(txn, status, headers, body)
  local reply = txn:reply({ status = status })
  for name, value in pairs(headers) do
    reply:add_header(name, value)
  end
  if txn.sf:method() ~= "HEAD" then
    reply:set_body(body or "")
  end
  txn:done(reply)
end

core.register_action("keyturn", { "http-req" }, function(txn, api)
  local id = txn.f:uuid()
  local headers, sent = {}, txn.http:req_get_headers()
  for name, values in pairs(sent) do
    local list = {}
    for at = 0, #values do
      if values[at] ~= nil then
        list[#list + 1] = values[at]
      end
    end
    headers[name] = list
  end
  for _, name in ipairs(hop_by_hop) do
    headers[name] = nil
  end
  -- Ours: whatever the client sent under these names is overwritten.
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-uri"] = { txn.sf:pathq() }
  headers["x-forwarded-for"] = { txn.sf:src() }
  headers["x-request-id"] = { id }

  local url = "http://" .. auth .. "/auth/haproxy/" .. api
  local answer = core.httpclient():get({ url = url, headers = headers, timeout = timeout_ms })
  local said = answer and answer.headers or {}

  if answer and answer.status == 200 then
    keep_no_upgrade_but_websocket(txn.http, sent["upgrade"])
    for _, name in ipairs(identity) do
      txn.http:req_del_header(name)
      txn.http:req_del_header((name:gsub("-", "_")))
      local value = first(said, name)
      if value and value ~= "" then
        txn.http:req_set_header(name, value)
      end
    end
    for _, name in ipairs(fields) do
      txn:set_var("txn.keyturn_" .. name:gsub("-", "_"), first(said, name) or "")
    end
    return
  end

  local told = {}
  -- HAProxy itself answers 503 and 504 when nobody else does: no verdict at all.
  if answer and answer.status >= 400 and first(said, "x-auth-code") then
    for _, list in ipairs({ refusal, fields }) do
      for _, name in ipairs(list) do
        told[name] = first(said, name)
      end
    end
    return refuse(txn, answer.status, told, answer.body)
  end
  told["content-type"], told["retry-after"], told["x-request-id"] = "application/problem+json", "5", id
  refuse(txn, 503, told, unavailable:format(id))
end, 1)
