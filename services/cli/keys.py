"""`azora keys`: the signing keys of access tokens."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING
from uuid import UUID

from services.auth.admin import open_signing_keys
from services.auth.settings import AuthSettings
from services.cli.databases import DatabaseSettings, running_system
from services.cli.output import Column, Output, yes
from services.demo.seed import auth_settings
from services.shared.encryption import SecretKeyChanged
from services.shared.errors import DomainError
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.signing_keys.model import Rotation, SigningKey

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def list_keys(out: Output) -> int:
    """Print all keys, the oldest first. Returns 1 if the database does not answer."""
    try:
        keys = asyncio.run(_list())
    except (DomainError, SettingsError) as error:
        return out.failed("keys list", error)
    out.table(COLUMNS, map(_row, keys))
    return 0


def rotate_key(out: Output) -> int:
    """Replace the active key. Waits, and says so, until the next key was published for longer than the longest cache.

    Returns 1 if the database does not answer.
    """
    try:
        rotation = asyncio.run(_rotate(out))
    except (DomainError, SettingsError, SecretKeyChanged) as error:
        return out.failed("keys rotate", error)
    _say_keys(rotation, out)
    return 0


def revoke_key(key_id: str, out: Output) -> int:
    """Revoke a key and its tokens. Returns 1 if there is no such key, or the database does not answer."""
    try:
        rotation = asyncio.run(_revoke(str(UUID(key_id))))
    except ValueError:
        rotation = None
    except (DomainError, SettingsError, SecretKeyChanged) as error:
        return out.failed("keys revoke", error)
    if rotation is None:
        return out.failed("keys revoke", f"no signing key has the id {key_id}")
    out.say(f"revoked {key_id}: its tokens are refused everywhere within 5 seconds", revokedKeyId=key_id)
    _say_keys(rotation, out)
    if rotation.wait_seconds:
        seconds = math.ceil(rotation.wait_seconds)
        out.say(f"the key that signs is new: Envoy may refuse its tokens for {seconds} s", waitSeconds=seconds)
    return 0


async def _list() -> Sequence[SigningKey]:
    async with open_signing_keys(_settings()) as keys:
        return await keys.list_signing_keys()


async def _rotate(out: Output) -> Rotation:
    async with open_signing_keys(_settings()) as keys:
        replaced = (await keys.find_signer()).key_id
        while True:
            rotation = await keys.rotate_signing_key(replaced_key_id=replaced)
            if not rotation.wait_seconds:
                return rotation
            seconds = math.ceil(rotation.wait_seconds)
            out.say(
                f"{rotation.next_key_id} is next; waiting {seconds} s until no cache of public keys lacks it",
                nextKeyId=rotation.next_key_id,
                waitSeconds=seconds,
            )
            await asyncio.sleep(rotation.wait_seconds)


async def _revoke(key_id: str) -> Rotation | None:
    async with open_signing_keys(_settings()) as keys:
        return await keys.revoke_signing_key(key_id=key_id)


def _settings() -> AuthSettings:
    """Return Auth's settings, from the environment or of the running local system. Raises NotRunning, SettingsError."""
    if load(DatabaseSettings).database_url is not None:
        return load(AuthSettings)
    return auth_settings(running_system())


def _say_keys(rotation: Rotation, out: Output) -> None:
    active, following = rotation.active_key_id, rotation.next_key_id
    out.say(f"{active} signs; {following} is next", activeKeyId=active, nextKeyId=following)


def _row(key: SigningKey) -> tuple[object, ...]:
    ages = (key.age_seconds, key.published_seconds, key.signing_seconds, key.retiring_seconds)
    return key.id, key.state, *ages, key.revoked


def _age(seconds: float | None) -> str:
    """Return an age in its largest unit: 3d, 5h, 12m, 7s."""
    if seconds is None:
        return "-"
    return next((f"{int(seconds // size)}{unit}" for unit, size in UNITS if seconds >= size), "0s")


COLUMNS = (
    Column("KID"),
    Column("STATE"),
    Column("AGE", _age, "ageSeconds"),
    Column("PUBLISHED", _age, "publishedSeconds"),
    Column("SIGNING SINCE", _age, "signingSeconds"),
    Column("REPLACED", _age, "replacedSeconds"),
    Column("REVOKED", yes),
)
