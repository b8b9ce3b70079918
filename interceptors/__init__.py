"""The interceptors of every call, in their order.

| order | interceptor | why here |
|---|---|---|
| 1 | Tracing | everything after it logs and answers under the call's ids |
| 2 | Metrics | counts how the call ended, as the log has it |
| 3 | AccessLog | sees how the call ended, refusals included |
| 4 | Errors | turns whatever is raised inside into the answer |
| 5 | Admission | before anything that waits: a call that is refused costs next to nothing |
| 6 | Deadline | even the checks end in time |
| 7 | Authentication | limits and rights need to know who is calling |
| 8 | RateLimit | before anything that costs more, and before the caller learns what it may not do |
| 9 | Authorization | before the message is looked at: who may not call learns nothing (AIP-211) |
| 10 | Validation | parses and checks the message |
| 11 | ActingUser | needs the message |
| 12 | ItemRateLimit | needs the message |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.admission import Admission
from interceptors.auth import ActingUser, Authentication, Authorization
from interceptors.base import Chain
from interceptors.deadline import Deadline
from interceptors.errors import Errors
from interceptors.logging import AccessLog
from interceptors.metrics import Metrics
from interceptors.rate_limit import ItemRateLimit, RateLimit
from interceptors.tracing import Tracing
from interceptors.validation import Validation
from services.shared.limits import MAX_CONCURRENT_RPCS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Tracer
    from prometheus_client import CollectorRegistry

    from interceptors.rate_limit import Limiter
    from services.shared.policy import MethodPolicy
    from services.shared.principal import Principal, TokenVerifier


def chain(
    policies: Mapping[str, MethodPolicy],
    *,
    verifier: TokenVerifier,
    limiter: Limiter,
    max_concurrent_rpcs: int = MAX_CONCURRENT_RPCS,
    registry: CollectorRegistry | None = None,
    tracer: Tracer | None = None,
    denied: Callable[[Principal, str], None] | None = None,
) -> Chain:
    """Return the chain of a server that serves the methods of `policies`.

    `registry` offers the metrics of the calls. Without a `tracer` there are no spans of them.
    `denied` is told of each user who may not call an RPC, with the RPC's path.
    """
    interceptors = (
        Tracing(tracer),
        Metrics(registry),
        AccessLog(),
        Errors(),
        Admission(max_concurrent_rpcs),
        Deadline(),
        Authentication(verifier),
        RateLimit(limiter),
        Authorization(denied),
        Validation(),
        ActingUser(),
        ItemRateLimit(limiter),
    )
    return Chain(interceptors, policies)
