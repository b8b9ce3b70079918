"""Background work of signing keys: the schedule of rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.shared.jobs import Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.signing_keys.operations import SigningKeyOperations

ROTATION_SCHEDULE = "* * * * *"


def periodic(keys: SigningKeyOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""
    return [Periodic("rotate_signing_keys", ROTATION_SCHEDULE, keys.rotate_signing_keys)]
