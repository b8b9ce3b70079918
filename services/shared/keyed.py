"""From a request message to an idempotent call: its key, its scope, its fingerprint."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from services.shared.errors import IdempotencyKeyConflict, IdempotencyKeyInvalid
from services.shared.idempotency import Idempotent
from services.shared.principal import current_request
from services.shared.validation import refuse_nul

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

MAX_KEY_CHARACTERS = 255

Effect = TypeVar("Effect")
Response = TypeVar("Response", bound="Message")


def idempotent(
    request: Message,
    response_type: type[Response],
    encode: Callable[[Effect], Response],
    *,
    key_field: str = "request_id",
) -> Idempotent[Effect, Response]:
    """Return the keyed call that `request` makes.

    The key is its field `key_field`, or the header Idempotency-Key, or for a call through the edge Envoy's request ID,
    which stays the same over Envoy's retries. Raises IdempotencyKeyConflict where both are given and differ,
    IdempotencyKeyInvalid where a service sent none, ValidationFailed for a text with the character NUL.
    """
    refuse_nul(request)
    call = current_request()
    if call is None:
        raise LookupError("outside a call")
    in_body: str = getattr(request, key_field)
    if in_body and call.idempotency_key and in_body != call.idempotency_key:
        raise IdempotencyKeyConflict
    key = in_body or call.idempotency_key or ("" if call.principal.service else f"edge:{call.id}")
    if not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise IdempotencyKeyInvalid.field("requestId", "must be 1 to 255 characters")
    canonical = type(request)()
    canonical.CopyFrom(request)
    canonical.ClearField(key_field)

    def decode(stored: bytes) -> Response:
        return response_type.FromString(stored)

    return Idempotent(
        principal_id=call.principal.id,
        method=request.DESCRIPTOR.full_name,
        key=key,
        fingerprint=hashlib.sha256(canonical.SerializeToString(deterministic=True)).digest(),
        encode=encode,
        decode=decode,
    )
