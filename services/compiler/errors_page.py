"""The contract's error reasons for people: code, status, meaning, and what to do."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from services.compiler import errors
from services.compiler.contract import GATEWAY
from services.compiler.envoy.local_replies import REPLIES
from services.compiler.openapi.reasons import HTTP_STATUSES, SHARED_REASONS, read_reasons, reasons_of, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import EnumDescriptor

    from services.compiler.contract import Contract
    from services.compiler.openapi.reasons import Reason

INTRODUCTION = """\
# Errors

Compiled from the `ErrorReason` enums of the contract by `make generate`. Every error is a `google.rpc.Status`: the body
of a JSON response, and the details of a gRPC one. Programs decide by `reason`; messages may change.

```json
{"code": 9, "message": "Insufficient available balance.", "details": [
  {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INSUFFICIENT_FUNDS", "domain": "azora.dev",
   "metadata": {"currency": "AZR"}}]}
```

- **Other details**: `BadRequest` lists invalid fields, `PreconditionFailure` unmet preconditions, `RetryInfo` has the
  delay before another attempt, which is also the `Retry-After` header.
- **Retries**: UNAVAILABLE and RESOURCE_EXHAUSTED can be retried after a delay. After DEADLINE_EXCEEDED, INTERNAL and a
  lost connection the outcome is unknown: the same [idempotency key](architecture.md#idempotency) finds out. Another
  code is the answer, until something has changed.
- **Reports**: the header `x-request-id` identifies a request in the logs of all processes: `azora logs --request ID`.
- Which reasons an RPC returns is listed in the [OpenAPI document](../generated/azora/openapi.json), and at `/docs`.
"""
HEAD = "| Reason | gRPC code | HTTP | Meaning | Metadata | What to do |\n| --- | --- | --- | --- | --- | --- |"


def errors_page(contract: Contract, comments: Mapping[str, str]) -> str:
    """Return a page of Markdown. Raises CommentError."""
    sections = [INTRODUCTION, _section("All services", contract.pool.FindEnumTypeByName(SHARED_REASONS), comments)]
    for owner in (*contract.owners, GATEWAY):
        enum = reasons_of(contract, owner)
        if enum is not None:
            sections.append(_section(owner.capitalize(), enum, comments))
    return "\n".join(sections)


def _section(title: str, enum: EnumDescriptor, comments: Mapping[str, str]) -> str:
    rows = [
        _row(reason)
        for reason in sorted(read_reasons(enum, lambda name: comments.get(name, "")), key=attrgetter("name"))
    ]
    return "\n".join((f"## {title}\n", HEAD, *rows, ""))


def _row(reason: Reason) -> str:
    code = f"{reason.code} ({reason.exception})" if reason.exception else reason.code
    statuses = ", ".join(map(str, sorted(_statuses(reason))))
    metadata = reason.metadata.removesuffix(".")
    cells = (f"`{reason.name}`", code, statuses, sentence(reason.meaning), metadata, sentence(reason.action))
    return f"| {' | '.join(cell or '-' for cell in cells)} |"


def _statuses(reason: Reason) -> set[int]:
    """Return the HTTP statuses of a reason: those of Envoy's replies, and that of its code if services answer it."""
    replies = [reply for reply in REPLIES if reply.error.reason == reason.name]
    statuses = {int(reply.status) for reply in replies}
    if any(type(reply.error).__module__ == errors.__name__ for reply in replies):
        return statuses
    return statuses | {int(HTTP_STATUSES[reason.code])}
