"""Access tokens at the edge: verified with Auth's public keys, so that forged ones cost no service anything.

The edge sheds and the service decides: whatever passes here is verified again where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import token_service_pb2

from services.compiler.envoy.clusters import JWKS, listening
from services.compiler.envoy.connections import http_listener
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
                "payload_in_metadata": "token",
                "jwt_cache_config": {"jwt_cache_size": 1000},
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
                    {"name": "jwks", "domains": ["*"], "routes": [rpc_route(profile, contract.policies()[GET_JWKS])]}
                ],
            },
        },
        [transcoder(profile, [TOKEN_SERVICE.full_name])],
    )
