"""Registering and signing in, as a client meets them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import jwt
import pytest
from azora.policy.v1 import permission_pb2
from grpc import aio

from tests.support.auth import PASSWORD, RunningAuth, auth_settings, running_auth
from tests.support.refusals import described, refusal

if TYPE_CHECKING:
    from tests.support.postgres import Clone

LONG = "🐘 " * 40


async def test_registering_makes_a_student_and_signs_them_in(auth: RunningAuth) -> None:
    session = await auth.register("Thandi@Example.COM", name="  Thandi Nkosi ")
    assert (session.user.email, session.user.name) == ("Thandi@example.com", "Thandi Nkosi")
    assert session.user.role == permission_pb2.ROLE_STUDENT
    assert session.expires_in == 900
    assert (await auth.profile(session.access_token)).user == session.user
    header = jwt.get_unverified_header(session.access_token)
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")
    assert set(claims) == {"iss", "aud", "sub", "sid", "jti", "iat", "exp", "epoch", "email_verified", "roles"}
    assert (claims["sub"], claims["roles"]) == (session.user.id, ["ROLE_STUDENT"])
    assert claims["exp"] - claims["iat"] == 900


async def test_the_case_of_an_address_does_not_matter(auth: RunningAuth) -> None:
    registered = await auth.register("Sipho.Dlamini@example.com")
    assert (await auth.login("sipho.dlamini@EXAMPLE.com")).user.id == registered.user.id
    taken = await refusal(auth.register("SIPHO.dlamini@example.com"))
    assert (taken.code, taken.reason) == ("ALREADY_EXISTS", "EMAIL_TAKEN")


async def test_of_many_who_register_an_address_at_once_one_gets_it(auth: RunningAuth) -> None:
    calls = [auth.register(email) for email in ["one@example.com", "One@example.com"] * 6]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [described(outcome) for outcome in outcomes if isinstance(outcome, aio.AioRpcError)]
    assert [refused.reason for refused in refusals] == ["EMAIL_TAKEN"] * 11
    assert len(await auth.sql("SELECT 1 FROM sessions")) == 1


@pytest.mark.parametrize(
    ("email", "reason"), [("no-address", "VALIDATION_FAILED"), ("a@b", "EMAIL_INVALID"), ("", "VALIDATION_FAILED")]
)
async def test_an_address_that_mail_cannot_reach_is_refused(auth: RunningAuth, email: str, reason: str) -> None:
    refused = await refusal(auth.register(email))
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason, ("email",))


@pytest.mark.parametrize(
    "name", [" ", "\n", "Tha\0ndi", "Tha\nndi", "\N{ZERO WIDTH SPACE}", "\N{RIGHT-TO-LEFT OVERRIDE}"]
)
async def test_a_name_needs_something_to_see(auth: RunningAuth, name: str) -> None:
    refused = await refusal(auth.register("thandi@example.com", name=name))
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", ("name",))


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("Password1", "common"),
        ("I am NomVula, really", "contains_email"),
        ("nomvula@example.com", "contains_email"),
        ("xXmathebeXx", "contains_name"),
        ("azoramesh", "contains_product"),
        ("aaaaaaaa", "repeated"),
        (" " * 8, "blank"),
    ],
)
async def test_a_password_that_is_easy_to_guess_is_refused(auth: RunningAuth, password: str, rule: str) -> None:
    refused = await refusal(auth.register("nomvula@example.com", password, "Dr. Mathebe"))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PASSWORD_REFUSED")
    assert refused.metadata == {"rule": rule}


@pytest.mark.parametrize("password", ["1234567", "x" * 129])
async def test_a_password_has_8_to_128_characters(auth: RunningAuth, password: str) -> None:
    refused = await refusal(auth.register("thandi@example.com", password))
    assert (refused.reason, refused.fields) == ("VALIDATION_FAILED", ("password",))


@pytest.mark.parametrize(
    ("password", "other"),
    [(LONG + "a", LONG + "b"), ("x" * 127 + "a", "x" * 127 + "b"), ("quiet\0 mornings", "quiet\0 evenings")],
    ids=["emoji and spaces", "the last of 128", "after NUL"],
)
async def test_every_character_of_a_password_counts(auth: RunningAuth, password: str, other: str) -> None:
    await auth.register("thandi@example.com", password)
    assert (await auth.login("thandi@example.com", password)).access_token
    assert (await refusal(auth.login("thandi@example.com", other))).reason == "CREDENTIALS_INVALID"


async def test_an_unknown_address_and_a_wrong_password_answer_alike(auth: RunningAuth) -> None:
    await auth.register("known@example.com")
    answers = []
    for email in ("known@example.com", "unknown@example.com", "no address at all", "nul\0@example.com"):
        with pytest.raises(aio.AioRpcError) as failed:
            await auth.login(email, "a wrong password")
        error = failed.value
        answers.append((error.code(), error.details(), [*error.initial_metadata()], [*error.trailing_metadata()]))
    assert len({str(answer) for answer in answers}) == 1
    assert described(error).reason == "CREDENTIALS_INVALID"
    assert answers[0][3], "the details of the status"


async def test_a_sign_in_renews_a_hash_of_another_cost(auth_database: Clone) -> None:
    async with running_auth(auth_database.owner_url, auth_database.app_url) as auth:
        await auth.register("thandi@example.com")
    async with running_auth(auth_database.owner_url, auth_database.app_url, bcrypt_cost=5) as auth:
        await auth.login("thandi@example.com")
        [row] = await auth.sql("SELECT password_hash FROM users")
        assert row["password_hash"].startswith("$2b$05$")
        await auth.login("thandi@example.com")
        assert await auth.sql("SELECT password_hash FROM users") == [row]


async def test_a_sign_in_sweeps_away_sessions_past_their_end(auth: RunningAuth) -> None:
    await auth.register("thandi@example.com")
    await auth.sql("UPDATE sessions SET expire_time = now() - interval '1 second'")
    session = await auth.login("thandi@example.com")
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert [str(row["id"]) for row in await auth.sql("SELECT id FROM sessions")] == [claims["sid"]]


async def test_nothing_secret_is_kept_in_the_clear(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    rows = [
        str(dict(row))
        for table in ("users", "sessions", "refresh_tokens", "signing_keys")
        for row in await auth.sql(f"SELECT *, {table}::text AS whole FROM {table}")  # noqa: S608
    ]
    assert rows
    for secret in (PASSWORD, session.refresh_token, "PRIVATE KEY"):
        assert not [row for row in rows if secret in row]


def test_a_production_system_has_slow_passwords() -> None:
    production = {"env": "production", "rate_limit_scale": 1, "smtp_url": "smtps://mail.example.com"}
    with pytest.raises(ValueError, match="AZORA_BCRYPT_COST"):
        auth_settings("postgresql+asyncpg://x", bcrypt_cost=9, **production)
    assert auth_settings("postgresql+asyncpg://x", bcrypt_cost=10, **production)
