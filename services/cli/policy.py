"""`azora policy`: the compiled policies of the RPCs, and the limits of the rate tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.output import Column, Output, yes
from services.compiler.contract import load_contract
from services.compiler.policy_table import api_key_scope, summary
from services.local.settings import read_settings
from services.shared.rate_limits import effective_tiers

if TYPE_CHECKING:
    from services.shared.policy import MethodPolicy


def _per_minute(limit: int) -> str:
    return f"{limit}/min" if limit else "-"


COLUMNS = (*map(Column, ("RPC", "CALLERS", "RATE", "PRIORITY", "TIMEOUT", "RETRIES", "API KEY")), Column("KEY", yes))
TIERS = (
    Column("RATE"),
    Column("PER ADDRESS", _per_minute, "perAddressPerMinute"),
    Column("PER USER", _per_minute, "perUserPerMinute"),
)


def show_policy(out: Output, service: str = "") -> int:
    """Print who may call what, at which rate, with which timeout and retries: of one service, or of all.

    The limits are those in force with AZORA_RATE_LIMITS and AZORA_RATE_LIMIT_SCALE. Raises SettingInvalid.
    """
    settings = read_settings()
    contract = load_contract()
    policies = contract.policies
    declared = [owned for owned in contract.declared if service in ("", contract.owner(owned))]
    paths = [f"/{owned.full_name}/{method.name}" for owned in declared for method in owned.methods]
    out.table(COLUMNS, [_row(policies[path]) for path in paths])
    out.gap()
    tiers = effective_tiers(settings.rate_limits, settings.rate_limit_scale).values()
    out.table(TIERS, [(tier.name, tier.per_address, tier.per_user) for tier in tiers])
    return 0


def _row(policy: MethodPolicy) -> tuple[object, ...]:
    callers, rate, timeout = summary(policy)
    name = policy.path.removeprefix("/azora.")
    shown = (name, callers, rate.replace("`", ""), policy.priority.name, timeout, _retries(policy))
    return (*shown, api_key_scope(policy), policy.takes_idempotency_key)


def _retries(policy: MethodPolicy) -> str:
    """Return when Envoy retries a call."""
    return "yes" if policy.retry_safe and not policy.server_streaming else "if not executed"
