"""Who may call an operation, how often and for how long: security requirements, and the policy for people and tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.shared.policy import role_permissions

if TYPE_CHECKING:
    from services.compiler.envoy.typed import Json
    from services.shared.policy import MethodPolicy

TOKEN = "accessToken"  # noqa: S105 - the name of a security scheme
SECURITY_SCHEMES: Json = {
    TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Access token of AuthService.Login, AuthService.Refresh or MfaService.VerifyChallenge.",
    }
}


def security(policy: MethodPolicy) -> list[Json]:
    """Return the security requirements of an operation, of which any one suffices. A permission is listed as a role."""
    if policy.public:
        return [{}, {TOKEN: []}]
    if policy.signed_in:
        return [{TOKEN: []}]
    return [{TOKEN: [permission]} for permission in sorted(policy.permissions)]


def roles(policy: MethodPolicy) -> list[str]:
    """Return the roles whose users may call an operation; all of them where any signed-in user may."""
    granted = {role: held for role, held in role_permissions().items() if not role.endswith("_UNSPECIFIED")}
    everyone = policy.public or policy.signed_in
    return [role for role, held in granted.items() if everyone or held & policy.permissions]


def policy_extension(policy: MethodPolicy) -> Json:
    """Return a policy for tools."""
    limits: Json = {}
    if policy.tier:
        per_minute = {"perAddressPerMinute": policy.tier.per_address, "perUserPerMinute": policy.tier.per_user}
        limits = {"rateTier": policy.tier.name} | {name: limit for name, limit in per_minute.items() if limit}
    if policy.counted_field:
        limits["countedField"] = policy.counted_field
    return {
        "rpc": policy.path,
        "public": policy.public,
        "signedIn": policy.signed_in,
        "permissions": sorted(policy.permissions),
        "roles": roles(policy),
        **limits,
        "priority": policy.priority.name,
        "watch": policy.watch,
        "timeoutSeconds": policy.timeout_seconds,
        "retrySafe": policy.retry_safe,
        "idempotencyKey": policy.takes_idempotency_key,
        "interactive": policy.interactive,
        **({} if policy.interactive else {"apiKeyScope": policy.scope}),
        "requiresFreshSessions": policy.requires_fresh_sessions,
    }


def policy_in_words(policy: MethodPolicy) -> str:
    """Return a policy as the last paragraph of an operation's description."""
    if policy.public:
        callers = "anyone"
    elif policy.signed_in:
        callers = "any signed-in user"
    else:
        callers = f"users with {' or '.join(sorted(policy.permissions))} ({', '.join(roles(policy))})"
    lines = [f"**Callers**: {callers}"]
    if policy.tier:
        each = ((policy.tier.per_address, "client address"), (policy.tier.per_user, "user"))
        limits = ", ".join(f"{limit} per minute per {whom}" for limit, whom in each if limit)
        lines.append(f"**Rate limit**: {limits} (tier {policy.tier.name})")
    if not policy.public:
        lines.append(f"**API keys**: {'not accepted' if policy.interactive else f'scope `{policy.scope}`'}")
    lines += [f"**Timeout**: {policy.timeout_seconds:g} s", f"**RPC**: `{policy.path.removeprefix('/')}`"]
    return " · ".join(lines)
