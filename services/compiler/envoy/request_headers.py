"""Request headers that gRPC's core would refuse by itself, before any service sees the call."""

from __future__ import annotations

from services.compiler.envoy.typed import Json, extension, typed
from services.shared.limits import MAX_HEADERS, MAX_HEADERS_KIB

LUA = "envoy.extensions.filters.http.lua.v3"
MESSAGE_FILTER = "azora.message_rules"
"""A name of its own: routes configure a filter by it."""
# What only servers, or gRPC itself, say: no service of ours reads them, and the core parses them.
REMOVED = (
    "endpoint-load-metrics-bin",
    "grpc-internal-encoding-request",
    "grpc-message",
    "grpc-previous-rpc-attempts",
    "grpc-retry-pushback-ms",
    "grpc-server-stats-bin",
    "grpc-status",
    "grpc-status-details-bin",
)
REMOVED_PREFIXES = ("lb-",)
ADDED = ("x-envoy-external-address", "x-forwarded-for", "x-forwarded-proto", "x-request-id")
"""What Envoy has added to a client's headers before they are counted."""
ENCODINGS = ("identity", "deflate", "gzip")
"""The compression of messages that the services' gRPC reads."""
HEADER_RULES = f"""\
local max_bytes = {MAX_HEADERS_KIB * 1024}
local max_headers = {MAX_HEADERS + len(ADDED)}

local function is_base64(value)
  local digits, padding = value:match("^([A-Za-z0-9+/]*)(=*)$")
  if not digits then return false end
  local rest, pad = #digits % 4, #padding
  if rest == 0 then return pad == 0 end
  if rest == 2 then return (pad == 0 or pad == 2) and digits:find("[AQgw]$") ~= nil end
  return rest == 3 and pad <= 1 and digits:find("[AEIMQUYcgkosw048]$") ~= nil
end

function envoy_on_request(handle)
  local bytes, count = 0, 0
  local host = handle:headers():get(":authority")
  if host and host:find(",", 1, true) then
    handle:respond({{[":status"] = "400"}}, "")
    return
  end
  for name, value in pairs(handle:headers()) do
    bytes, count = bytes + #name + #value, count + 1
    if name:sub(-4) == "-bin" and not is_base64(value) then
      handle:respond({{[":status"] = "400"}}, "")
      return
    end
  end
  if bytes > max_bytes or count > max_headers then
    handle:respond({{[":status"] = "431"}}, "")
    return
  end
end
"""

MESSAGE_RULES = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  local type = headers:get("content-type")
  if not type or type:sub(1, 16) ~= "application/grpc" or headers:get("x-envoy-original-path") then return end
  local encoding = headers:get("grpc-encoding") or "identity"
  local body = handle:body()
  if body and body:length() >= 5 then
    local compressed, a, b, c, d = body:getBytes(0, 5):byte(1, 5)
    if ((a * 256 + b) * 256 + c) * 256 + d == body:length() - 5
      and (compressed == 0 or compressed == 1 and encoding ~= "identity") then return end
  end
  handle:respond({[":status"] = "422"}, "")
end
"""


def header_rules() -> Json:
    """Return the refusal of headers that are long, many, or `-bin` and not base64 (RFC 4648 section 4, padded or not).

    And of several hosts (RFC 9112 section 3.2), which Envoy makes one of.

    Only Lua sees headers whose names nobody knows in advance, and the codec of HTTP/2 refuses long or many by a reset.
    """
    return extension(
        "envoy.filters.http.lua",
        f"{LUA}.Lua",
        default_source_code={"inline_string": HEADER_RULES},
    )


def message_rules() -> Json:
    """Return the refusal of calls of one request whose body is not one whole message. Stands after the buffer.

    gRPC's core never answers a call whose message does not come, and Envoy has a place for only so many.
    """
    return extension(
        MESSAGE_FILTER,
        f"{LUA}.Lua",
        default_source_code={"inline_string": MESSAGE_RULES},
    )


def any_messages() -> Json:
    """Return what a route needs whose requests are a stream."""
    return {MESSAGE_FILTER: typed(f"{LUA}.LuaPerRoute", disabled=True)}


def no_trailers() -> Json:
    """Return the removal of a request's trailers: they say nothing to a service, and gRPC's core parses them too."""
    every = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}}
    return extension(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_trailers_mutations": [every]},
    )


def removals() -> list[Json]:
    """Return the removal of headers that clients have no use for."""
    return [
        *({"remove": name} for name in REMOVED),
        *({"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in REMOVED_PREFIXES),
    ]


def unknown_encoding() -> Json:
    """Return the rule that matches messages in a compression which the services cannot read."""
    return {
        "header": {
            "name": "grpc-encoding",
            "string_match": {"safe_regex": {"regex": "|".join(ENCODINGS)}},
            "invert_match": True,
        }
    }
