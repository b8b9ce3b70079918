"""`azora keys`: the signing keys of access tokens."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING
from uuid import UUID

from services.auth.admin import open_signing_keys
from services.auth.settings import AuthSettings
from services.cli.databases import DatabaseSettings, running_system
from services.cli.output import failed, say, say_table
from services.demo.seed import auth_settings
from services.shared.encryption import SecretKeyChanged
from services.shared.errors import DomainError
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.signing_keys.model import Rotation, SigningKey

HEADER = ("KID", "STATE", "AGE", "PUBLISHED", "SIGNING SINCE", "REPLACED", "REVOKED")
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def list_keys() -> int:
    """Print all keys, the oldest first. Returns 1 if the database does not answer."""
    try:
        keys = asyncio.run(_list())
    except (DomainError, SettingsError) as error:
        return failed("keys list", error)
    say_table(HEADER, map(_row, keys))
    return 0


def rotate_key() -> int:
    """Replace the active key. Waits, and says so, until the next key was published for longer than the longest cache.

    Returns 1 if the database does not answer.
    """
    try:
        rotation = asyncio.run(_rotate())
    except (DomainError, SettingsError, SecretKeyChanged) as error:
        return failed("keys rotate", error)
    say(f"{rotation.active_key_id} signs; {rotation.next_key_id} is next")
    return 0


def revoke_key(key_id: str) -> int:
    """Revoke a key and its tokens. Returns 1 if there is no such key, or the database does not answer."""
    try:
        rotation = asyncio.run(_revoke(str(UUID(key_id))))
    except ValueError:
        rotation = None
    except (DomainError, SettingsError, SecretKeyChanged) as error:
        return failed("keys revoke", error)
    if rotation is None:
        return failed("keys revoke", f"no signing key has the id {key_id}")
    say(f"revoked {key_id}: its tokens are refused everywhere within 5 seconds")
    say(f"{rotation.active_key_id} signs; {rotation.next_key_id} is next")
    if rotation.wait_seconds:
        say(f"the key that signs is new: Envoy may refuse its tokens for {math.ceil(rotation.wait_seconds)} s")
    return 0


async def _list() -> Sequence[SigningKey]:
    async with open_signing_keys(_settings()) as keys:
        return await keys.list_signing_keys()


async def _rotate() -> Rotation:
    async with open_signing_keys(_settings()) as keys:
        replaced = (await keys.find_signer()).key_id
        while True:
            rotation = await keys.rotate_signing_key(replaced_key_id=replaced)
            if not rotation.wait_seconds:
                return rotation
            seconds = math.ceil(rotation.wait_seconds)
            say(f"{rotation.next_key_id} is next; waiting {seconds} s until no cache of public keys lacks it")
            await asyncio.sleep(rotation.wait_seconds)


async def _revoke(key_id: str) -> Rotation | None:
    async with open_signing_keys(_settings()) as keys:
        return await keys.revoke_signing_key(key_id=key_id)


def _settings() -> AuthSettings:
    """Return Auth's settings, from the environment or of the running local system. Raises NotRunning, SettingsError."""
    if load(DatabaseSettings).database_url is not None:
        return load(AuthSettings)
    return auth_settings(running_system())


def _row(key: SigningKey) -> tuple[str, ...]:
    ages = (key.age_seconds, key.published_seconds, key.signing_seconds, key.retiring_seconds)
    return key.id, key.state, *map(_age, ages), "yes" if key.revoked else "-"


def _age(seconds: float | None) -> str:
    """Return an age in its largest unit: 3d, 5h, 12m, 7s."""
    if seconds is None:
        return "-"
    return next((f"{int(seconds // size)}{unit}" for unit, size in UNITS if seconds >= size), "0s")
