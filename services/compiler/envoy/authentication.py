"""Access tokens at the edge: verified with Auth's public keys, so that forged ones cost no service anything.

The edge sheds and the service decides: whatever passes here is verified again where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import token_service_pb2

from services.compiler.envoy.clusters import JWKS, listening
from services.compiler.envoy.connections import http_listener
from services.compiler.envoy.local_replies import INTERACTIVE_RULE
from services.compiler.envoy.routes import rpc_route
from services.compiler.envoy.transcoding import transcoder
from services.compiler.envoy.typed import Json, extension, typed
from services.shared.tokens import LEEWAY_SECONDS

if TYPE_CHECKING:
    from services.compiler.contract import Contract
    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import MethodPolicy

FILTER = "envoy.filters.http.jwt_authn"
MESSAGES = "envoy.extensions.filters.http.jwt_authn.v3"
CACHED_TOKENS = 2500
"""Verified tokens that each worker remembers, in 15 MB; to verify one takes a tenth of a call's CPU time."""
METADATA = "token"
"""Where Envoy keeps the claims of a verified token."""
RBAC = "envoy.extensions.filters.http.rbac.v3"
API_KEY_FILTER = "azora.api_keys"
"""A name of its own: routes configure a filter by it."""
PROVIDER = "azora"
REQUIRED = "required"
OPTIONAL = "optional"
TOKEN_SERVICE = token_service_pb2.DESCRIPTOR.services_by_name["TokenService"]
GET_JWKS = f"/{TOKEN_SERVICE.full_name}/{TOKEN_SERVICE.methods_by_name['GetJwks'].name}"
JWKS_URI = "http://jwks/.well-known/jwks.json"


def token_verifier(profile: Profile) -> Json:
    """Return the filter. Routes say with `token_requirement` whether they need a token."""
    return extension(
        FILTER,
        f"{MESSAGES}.JwtAuthentication",
        providers={
            PROVIDER: {
                "issuer": profile.issuer,
                "audiences": [profile.audience],
                "require_expiration": True,
                "clock_skew_seconds": LEEWAY_SECONDS,
                "forward": True,
                # Named, because the default also takes tokens from the query, where logs and histories keep them.
                "from_headers": [
                    {"name": "authorization", "value_prefix": scheme} for scheme in ("Bearer ", "bearer ")
                ],
                "payload_in_metadata": METADATA,
                "jwt_cache_config": {"jwt_cache_size": CACHED_TOKENS},
                "remote_jwks": {
                    "http_uri": {"uri": JWKS_URI, "cluster": JWKS, "timeout": "2s"},
                    "cache_duration": f"{profile.jwks_cache_seconds}s",
                    "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
                },
            }
        },
        requirement_map={
            REQUIRED: {"provider_name": PROVIDER},
            # An expired token counts as none, a forged one is refused: Envoy cannot tell them apart, the service does.
            OPTIONAL: {
                "requires_any": {"requirements": [{"provider_name": PROVIDER}, {"allow_missing_or_failed": {}}]}
            },
        },
    )


def token_requirement(policy: MethodPolicy) -> Json:
    """Return a route's requirement, from who may call the method."""
    name = OPTIONAL if policy.public else REQUIRED
    return {FILTER: typed(f"{MESSAGES}.PerRouteConfig", requirement_name=name)}


def api_key_rules() -> Json:
    """Return the filter that refuses access tokens of API keys on routes with `interactive_only`."""
    return extension(API_KEY_FILTER, f"{RBAC}.RBAC")


def interactive_only() -> Json:
    """Return what the route of an interactive method needs: no other token than an API key's has scopes."""
    claim = {"filter": FILTER, "path": [{"key": METADATA}, {"key": "scope"}], "value": {"present_match": True}}
    rule = {"permissions": [{"any": True}], "principals": [{"sourced_metadata": {"metadata_matcher": claim}}]}
    rules = {"action": "DENY", "policies": {INTERACTIVE_RULE: rule}}
    return {API_KEY_FILTER: typed(f"{RBAC}.RBACPerRoute", rbac={"rules": rules})}


def no_token() -> Json:
    """Return the requirement of routes that no user stands behind: tokens are not looked at."""
    return {FILTER: typed(f"{MESSAGES}.PerRouteConfig", disabled=True)}


def jwks_listener(profile: Profile, contract: Contract) -> Json:
    """Return a listener on a unix socket that gives Envoy Auth's RPC as the JSON its token verifier wants."""
    return http_listener(
        "jwks",
        listening(profile.jwks),
        {
            "stat_prefix": "jwks",
            "route_config": {
                "name": "jwks",
                "virtual_hosts": [
                    {"name": "jwks", "domains": ["*"], "routes": [rpc_route(profile, contract.policies[GET_JWKS])]}
                ],
            },
        },
        [transcoder(profile, [TOKEN_SERVICE.full_name])],
    )
