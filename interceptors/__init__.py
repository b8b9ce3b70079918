"""What happens to every call before and after its handler, and in which order.

| order | interceptor | why here |
|---|---|---|
| 1 | Tracing | everything after it logs and answers under the call's ids |
| 2 | AccessLog | sees how the call ended, refusals included |
| 3 | Errors | turns whatever is raised inside into the answer |
| 4 | Deadline | even the checks end in time |
| 5 | Authentication | limits and rights need to know who is calling |
| 6 | RateLimit | before anything that costs more, and before the caller learns what it may not do |
| 7 | Authorization | before the message is looked at: who may not call learns nothing (AIP-211) |
| 8 | Validation | parses and checks the message |
| 9 | ActingUser | needs the message |
| 10 | AccountRateLimit | needs the message |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.auth import ActingUser, Authentication, Authorization
from interceptors.base import Chain
from interceptors.deadline import Deadline
from interceptors.errors import Errors
from interceptors.logging import AccessLog
from interceptors.rate_limit import AccountRateLimit, RateLimit
from interceptors.tracing import Tracing
from interceptors.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptors.rate_limit import Limiter
    from services.shared.policy import MethodPolicy
    from services.shared.principal import TokenVerifier


def chain(policies: Mapping[str, MethodPolicy], *, verifier: TokenVerifier, limiter: Limiter) -> Chain:
    """Return the chain of a server that serves the methods of `policies`."""
    interceptors = (
        Tracing(),
        AccessLog(),
        Errors(),
        Deadline(),
        Authentication(verifier),
        RateLimit(limiter),
        Authorization(),
        Validation(),
        ActingUser(),
        AccountRateLimit(limiter),
    )
    return Chain(interceptors, policies)
