"""The contract's policies for people: who may call what, how often, for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api import annotations_pb2

from services.shared.policy import role_permissions, tiers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from services.compiler.contract import Contract
    from services.shared.policy import MethodPolicy

INTRODUCTION = """\
# RPC policies

Compiled from the `.proto` files by `make generate`. Envoy and the services enforce these policies.

- **Callers**: any one of those listed is admitted. A service is authenticated by its mesh certificate. RPCs that admit
  services only are not reachable through the public port.
- **Rate**: rate-limit tier, see [rate limits](#rate-limits). If it names a request field, each item
  of the field counts as a call.
- **Priority**: under overload, calls of a lower priority are rejected first. Services never reject CRITICAL calls.
- **Timeout**: maximum duration of a call. A shorter client deadline takes precedence.
- **Retry**: whether the call can be retried after an unknown outcome.
- **Fresh sessions**: whether calls of users fail with UNAVAILABLE while the service has not learned of revoked sessions
  for longer than `AZORA_FRESH_SESSIONS_SECONDS`. Calls of services do not.
- **API key**: the scope that an access token of an API key needs. RPCs with "-" refuse such tokens; where anyone is
  admitted, a token without the scope counts as none.
- **Key**: whether the call accepts an idempotency key, as `requestId` or the `Idempotency-Key` header.
"""


def policy_table(contract: Contract) -> str:
    """Return a page of Markdown."""
    policies = contract.policies
    sections = [INTRODUCTION]
    sections += [_service(service, policies) for service in contract.declared]
    sections += [_limits(), _roles()]
    return "\n".join(sections)


def _service(service: ServiceDescriptor, policies: Mapping[str, MethodPolicy]) -> str:
    rows = []
    for method in service.methods:
        policy = policies[f"/{service.full_name}/{method.name}"]
        rows.append(
            (
                method.name,
                _route(method),
                ", ".join(callers(policy)),
                _rate(policy),
                policy.priority.name,
                f"{policy.timeout_seconds:g} s",
                _tick(policy.retry_safe),
                _tick(policy.requires_fresh_sessions),
                api_key_scope(policy),
                _tick(policy.takes_idempotency_key),
            )
        )
    header = ("RPC", "HTTP", "Callers", "Rate", "Priority", "Timeout", "Retry", "Fresh sessions", "API key", "Key")
    return f"## {service.full_name}\n\n{_table(header, rows)}"


def summary(policy: MethodPolicy) -> tuple[str, str, str]:
    """Return a policy's callers, rate and timeout, as the page has them."""
    return ", ".join(callers(policy)), _rate(policy), f"{policy.timeout_seconds:g} s"


def api_key_scope(policy: MethodPolicy) -> str:
    """Return the scope that an access token of an API key needs, as the page has it; "-" where it is refused."""
    return "-" if policy.internal or policy.interactive else policy.scope


def _rate(policy: MethodPolicy) -> str:
    tier = policy.tier.name if policy.tier else ""
    return f"{tier}, each of `{policy.counted_field}`" if policy.counted_field else tier


def _limits() -> str:
    def per_minute(limit: int) -> str:
        return f"{limit} per minute" if limit else "-"

    rows = [(tier.name, per_minute(tier.per_address), per_minute(tier.per_user)) for tier in tiers().values()]
    return f"## Rate limits\n\n{_table(('Tier', 'Per address', 'Per user'), rows)}"


def _roles() -> str:
    rows = [
        (role, ", ".join(sorted(permissions)) or "-")
        for role, permissions in role_permissions().items()
        if not role.endswith("_UNSPECIFIED")
    ]
    return f"## Roles\n\n{_table(('Role', 'Permissions'), rows)}"


def callers(policy: MethodPolicy) -> Iterator[str]:
    """Yield who may call an RPC: "anyone", "signed-in users", permissions, services."""
    if policy.public:
        yield "anyone"
    if policy.signed_in:
        yield "signed-in users"
    yield from sorted(policy.permissions)
    yield from (f"service {name}" for name in sorted(policy.services))


def http_route(method: MethodDescriptor) -> str:
    """Return an RPC's HTTP method and path: "GET /v1/wallet"; empty without a route."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f"{verb.upper()} {getattr(rule, verb)}" if verb else ""


def _route(method: MethodDescriptor) -> str:
    route = http_route(method)
    return f"`{route}`" if route else "-"


def _tick(value: bool) -> str:
    return "yes" if value else "-"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
