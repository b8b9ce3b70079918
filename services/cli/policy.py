"""`azora policy`: the compiled policies of the RPCs, and the limits of the rate tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.output import say, say_table
from services.compiler.contract import load_contract
from services.compiler.policy_table import api_key_scope, summary
from services.local.settings import read_settings
from services.shared.rate_limits import effective_tiers

if TYPE_CHECKING:
    from services.shared.policy import MethodPolicy, Tier

HEADER = ("RPC", "CALLERS", "RATE", "PRIORITY", "TIMEOUT", "RETRIES", "API KEY", "KEY")
TIERS = ("RATE", "PER ADDRESS", "PER USER")


def show_policy(service: str = "") -> int:
    """Print who may call what, at which rate, with which timeout and retries: of one service, or of all.

    The limits are those in force with AZORA_RATE_LIMITS and AZORA_RATE_LIMIT_SCALE. Raises SettingInvalid.
    """
    settings = read_settings()
    contract = load_contract()
    policies = contract.policies()
    declared = [owned for owned in contract.declared if service in ("", contract.owner(owned))]
    paths = [f"/{owned.full_name}/{method.name}" for owned in declared for method in owned.methods]
    say_table(HEADER, [_row(policies[path]) for path in paths])
    say("")
    say_table(TIERS, map(_limits, effective_tiers(settings.rate_limits, settings.rate_limit_scale).values()))
    return 0


def _row(policy: MethodPolicy) -> tuple[str, ...]:
    callers, rate, timeout = summary(policy)
    key = "yes" if policy.takes_idempotency_key else "-"
    name = policy.path.removeprefix("/azora.")
    rate = rate.replace("`", "") or "-"
    return name, callers, rate, policy.priority.name, timeout, _retries(policy), api_key_scope(policy), key


def _retries(policy: MethodPolicy) -> str:
    """Return when Envoy retries a call."""
    return "yes" if policy.retry_safe and not policy.server_streaming else "if not executed"


def _limits(tier: Tier) -> tuple[str, ...]:
    limits = (tier.per_address, tier.per_user)
    return (tier.name, *(f"{limit}/min" if limit else "-" for limit in limits))
