-- How would one write the grab with nginx and Lua? One EVALSHA a request, connections to Redis kept, a sold-out cache if wanted.
local bit = require "bit"
local cjson = require "cjson.safe"
local ffi = require "ffi"
local redis = require "nginx.redis"

ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *d, size_t n, unsigned char *out, unsigned int *out_len);
]]
local crypto = ffi.load("crypto.so.3")
local out, out_len = ffi.new("unsigned char[64]"), ffi.new("unsigned int[1]")

local env = {}
for _, name in ipairs({"REDIS_PORT", "REDIS_PASSWORD", "CELL", "EPOCH", "SHA", "KID", "SECRET", "VALID_DAYS", "CACHE"}) do
  env[name] = os.getenv("BENCH_" .. name) or ""
end
local prefix = "grab:{" .. env.CELL .. "}:"
local domain = "grab-pass\0" .. env.CELL .. "\0"
local port, valid_s = tonumber(env.REDIS_PORT), tonumber(env.VALID_DAYS) * 86400
local cache = env.CACHE == "1" and ngx.shared.sold_out or nil
local ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
local DAY = "!%Y-%m-%dT%H:%M:%S"

local function same(a, b)
  if #a ~= #b then
    return false
  end
  local difference = 0
  for i = 1, #a do
    difference = bit.bor(difference, bit.bxor(a:byte(i), b:byte(i)))
  end
  return difference == 0
end

local function member_of(authorization)
  local payload, mac = string.match(authorization or "", "^Bearer (.+)%.([^.]+)$")
  if not payload then
    return nil
  end
  local kid, expires_at, member = string.match(payload, "^2%.([^.]+)%.(%d+)%.([^.]+)%.")
  if kid ~= env.KID then
    return nil
  end
  local message = domain .. payload
  crypto.HMAC(crypto.EVP_sha256(), env.SECRET, #env.SECRET, message, #message, out, out_len)
  local expected = ngx.encode_base64(ffi.string(out, 18)):gsub("+", "-"):gsub("/", "_")
  if not same(mac, expected) or tonumber(expires_at) <= ngx.time() then
    return nil
  end
  return member
end

local function new_code()
  local letters = {}
  for i = 1, 12 do
    local at = math.random(#ALPHABET)
    letters[i] = ALPHABET:sub(at, at)
  end
  return table.concat(letters)
end

local function problem(status, outcome)
  ngx.status = status
  ngx.header["Content-Type"] = "application/problem+json"
  local body = cjson.encode({type = "/problems/" .. outcome, title = outcome, status = status, code = (outcome:gsub("_", "-"))})
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end

local function moment(at_ms)
  return os.date(DAY, math.floor(at_ms / 1000)) .. string.format(".%03dZ", at_ms % 1000)
end

return function()
  local member = member_of(ngx.var.http_authorization)
  if not member then
    return problem(401, "pass_invalid")
  end
  local id = ngx.var.campaign_id
  if cache and cache:get(id) then
    return problem(409, "sold_out")
  end
  local campaign = prefix .. "campaign:" .. id
  local server = redis:new()
  server:set_timeout(10000) -- it queues for seconds in a crowd, and shall answer all the same
  local connected, why = server:connect("127.0.0.1", port)
  if not connected then
    ngx.log(ngx.ERR, why)
    return problem(503, "paused_for_recovery")
  end
  if env.REDIS_PASSWORD ~= "" and server:get_reused_times() == 0 then
    server:auth(env.REDIS_PASSWORD)
  end
  local reply
  reply, why = server:evalsha(env.SHA, 8, prefix .. "cell", campaign, campaign .. ":claims", campaign .. ":bindings", campaign .. ":free",
    campaign .. ":codes", prefix .. "members", prefix .. "log",
    env.EPOCH, 0, "b", id, member, ngx.var.http_idempotency_key or "", new_code())
  if not reply then
    ngx.log(ngx.ERR, why)
    return problem(503, "outcome_unknown")
  end
  server:set_keepalive(60000, 4096)
  local outcome, rest = string.match(reply[8], "^([^\t]+)\t?(.*)$")
  if outcome ~= "won" and outcome ~= "held" then
    if outcome == "sold_out" and cache then
      cache:set(id, true, 0.25)
    end
    return problem(409, outcome)
  end
  local seq, epoch, granted_at, unit, code =
    string.match(rest, "^1\tseq=(%d+)\tepoch=(%d+)\tat_ms=(%d+)\tstate=%l+\tunit_no=(%d+)\tordinal=%d+\tcode=([^\t]*)\tkey=[^\t]*$")
  local claim = id .. "." .. epoch .. "." .. seq
  granted_at = tonumber(granted_at)
  ngx.status = outcome == "won" and 201 or 200
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Location"] = "/v1/claims/" .. claim
  local body = cjson.encode({
    claim_id = claim,
    campaign_id = id,
    member_id = member,
    state = "fulfilled",
    unit_no = tonumber(unit),
    seq = tonumber(seq),
    granted_at = moment(granted_at),
    granted_at_ms = granted_at,
    voucher = {
      voucher_id = "v." .. claim,
      code = code,
      state = "active",
      valid_from = moment(granted_at),
      valid_until = moment(granted_at + valid_s * 1000),
    },
  })
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end
