"""Rules for passwords, and the queue in front of checking them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from services.auth.errors import PasswordChecksBusy, PasswordRefused
from services.auth.passwords.model import Flaw, find_flaw
from services.auth.passwords.operations import PasswordOperations
from services.shared.principal import Request, serve_request
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMON = frozenset({"password1", "superman"})


@pytest.fixture
async def passwords() -> AsyncIterator[PasswordOperations]:
    passwords = PasswordOperations(cost=4, workers=1)
    yield passwords
    await passwords.close()


@pytest.mark.parametrize(
    ("password", "flaw"),
    [
        ("SuperMan", Flaw.COMMON),
        ("superman1", None),
        ("pass-THANDI-word", Flaw.CONTAINS_EMAIL),
        ("nkosi-nkosi", None),
        ("ooMathebeLaoo", Flaw.CONTAINS_NAME),
        ("mathebe1234", Flaw.CONTAINS_NAME),
        ("\N{FULLWIDTH LATIN SMALL LETTER M}athebe1234", Flaw.CONTAINS_NAME),
        ("m a t h e b e", None),
    ],
)
def test_a_password_holds_no_long_part_of_the_name_and_no_address(password: str, flaw: Flaw | None) -> None:
    assert find_flaw(password, local_part="Thandi", name="Dr. Nkosi-Mathebe", common=COMMON) == flaw


@pytest.mark.parametrize(
    ("password", "flaw"),
    [
        ("aaaaaaaa", Flaw.REPEATED),
        ("abababab", Flaw.REPEATED),
        ("ABcdabCDab", Flaw.REPEATED),
        ("\N{GRINNING FACE}" * 8, Flaw.REPEATED),
        ("xy" * 64, Flaw.REPEATED),
        (" " * 8, Flaw.BLANK),
        (" \t\n\N{ZERO WIDTH SPACE}" * 2, Flaw.BLANK),
        ("AzoraMesh", Flaw.CONTAINS_PRODUCT),
        ("azora mesh 2024!", Flaw.CONTAINS_PRODUCT),
        ("aaaaaaab", None),
        ("a b c d e f", None),
        ("\N{ELEPHANT} and \N{ELEPHANT}", None),
    ],
)
def test_a_password_is_neither_blank_nor_one_pattern_nor_our_name(password: str, flaw: Flaw | None) -> None:
    assert find_flaw(password, local_part="thandi", name="Thandi", common=COMMON) == flaw


def test_a_local_part_of_two_letters_is_in_too_many_passwords() -> None:
    assert find_flaw("an open door", local_part="an", name="", common=COMMON) is None
    assert find_flaw("ann opens a door", local_part="ann", name="", common=COMMON) is Flaw.CONTAINS_EMAIL


async def test_the_3000_commonest_passwords_are_refused(passwords: PasswordOperations) -> None:
    assert len(passwords._common) == 3000
    assert all(len(password) >= 8 and password == password.lower() for password in passwords._common)
    for password in ("12345678", "Password", "qwertyuiop", "iLoveYou"):
        with pytest.raises(PasswordRefused):
            passwords.refuse_guessable(password, local_part="thandi", name="Thandi")
    passwords.refuse_guessable("correct horse battery staple", local_part="thandi", name="Thandi")


async def test_a_hash_belongs_to_one_password(passwords: PasswordOperations) -> None:
    password_hash = await passwords.hash("caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait")
    assert password_hash.startswith("$2b$04$")
    assert await passwords.matches("cafe\N{COMBINING ACUTE ACCENT} au lait", password_hash)
    assert not await passwords.matches("cafe au lait", password_hash)
    assert not await passwords.matches("anything", None)
    assert not passwords.is_outdated(password_hash)
    assert passwords.is_outdated(password_hash.replace("$04$", "$05$"))


async def test_a_check_that_cannot_end_before_the_deadline_is_refused_at_once(passwords: PasswordOperations) -> None:
    passwords._seconds_each = 2.0
    loop = asyncio.get_running_loop()

    async def check(seconds_left: float | None) -> bool:
        if seconds_left is not None:
            serve_request(Request(id="1", traceparent="", deadline=loop.time() + seconds_left))
        return await passwords.matches("password", None)

    answers = await asyncio.gather(check(3), check(3), check(None), check(1), return_exceptions=True)
    busy = [answer for answer in answers if isinstance(answer, PasswordChecksBusy)]
    assert answers[0] is False
    assert answers[1] is busy[0]
    assert answers[2] is False
    assert answers[3] is busy[1]
    assert [round(refused.retry_after_seconds or 0) for refused in busy] == [1, 5]


async def test_who_gives_up_makes_room(passwords: PasswordOperations) -> None:
    slow = PasswordOperations(cost=10, workers=1)
    waiting = [asyncio.create_task(slow.matches("password", None)) for _ in range(10)]
    first = await waiting[0]
    for task in waiting[1:]:
        task.cancel()
    await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert first is False
    assert slow._pending == 0
    assert await asyncio.wait_for(slow.matches("password", None), 2) is False
    await slow.close()


BYTES_72 = "a1b2c3d4e" * 8
FACE = "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("password", "twin"),
    [
        (f"{BYTES_72}x", f"{BYTES_72}y"),
        (BYTES_72, f"{BYTES_72}x"),
        (f"{BYTES_72[:-1]}{FACE}", f"{BYTES_72[:-1]}\N{GRINNING CAT FACE WITH SMILING EYES}"),
        (f"{FACE * 18}\N{PILE OF POO}", f"{FACE * 18}\N{ELEPHANT}"),
        ("x" * 64, "x" * 65),
        ("x" * 127 + "a", "x" * 127 + "b"),
        ("\0morning", "\0evening"),
        ("quiet\0morning", "quiet\0evening"),
        ("quiet", "quiet\0"),
        ("quiet morning", "quiet morning "),
        ("Quiet morning", "quiet morning"),
        ("\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET} to space", "\N{WOMAN}\N{ROCKET} to space"),
    ],
    ids=[
        *("73 bytes", "one byte more", "a character over byte 72", "byte 73 of emoji", "64 and 65 characters"),
        *("128 characters", "NUL first", "after NUL", "NUL last", "a space at the end", "case", "joined emoji"),
    ],
)
async def test_every_byte_of_a_password_counts(passwords: PasswordOperations, password: str, twin: str) -> None:
    hashed = await passwords.hash(password)
    assert await passwords.matches(password, hashed)
    assert not await passwords.matches(twin, hashed)
    assert not await passwords.matches(password, await passwords.hash(twin))


async def test_what_is_hashed_is_no_other_password(passwords: PasswordOperations) -> None:
    """A password that is the digest of another, as bcrypt is given it, opens nothing (password shucking)."""
    digest = base64.b64encode(hashlib.sha384(b"quiet morning").digest()).decode()
    assert not await passwords.matches(digest, await passwords.hash("quiet morning"))
    assert not await passwords.matches("quiet morning", await passwords.hash(digest))


async def test_one_password_is_the_same_from_every_keyboard(passwords: PasswordOperations) -> None:
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}s", "cafe\N{COMBINING ACUTE ACCENT}s"
    assert await passwords.matches(decomposed, await passwords.hash(composed))


async def test_a_machine_that_has_become_slow_refuses_before_its_first_check_is_done(
    passwords: PasswordOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.passwords.operations.MAX_WAIT_SECONDS", 0.2)
    done = threading.Event()
    slow = asyncio.create_task(passwords._run(lambda _: done.wait()))

    async def refused() -> bool:
        try:
            passwords._refuse_if_too_late()
        except PasswordChecksBusy:
            return True
        return False

    try:
        await eventually(refused)
    finally:
        done.set()
        await slow


async def test_a_place_in_the_queue_counts_once_and_before_anything_else_is_done(
    passwords: PasswordOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_seconds_each", 4.0)
    hashed = await passwords.hash("quiet morning")
    monkeypatch.setattr(passwords, "_seconds_each", 4.0)
    with passwords.place():
        assert passwords._pending == 1
        with passwords.place():
            assert await passwords.matches("quiet morning", hashed)
            monkeypatch.setattr(passwords, "_seconds_each", 4.0)
            with pytest.raises(PasswordChecksBusy), passwords.place():
                raise AssertionError("three checks of 4 s do not end in 10 s")
    assert passwords._pending == 0
