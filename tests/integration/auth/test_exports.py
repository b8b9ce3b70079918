"""Export of a person's data: all of it, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.education import lesson_ids
from tests.support.personal_texts import EMAIL, MARK, NAME, named, spread
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.platform import Platform

COLLECTIONS = {
    "auth": {
        "users",
        "sessions",
        "devices",
        "authenticators",
        "apiKeys",
        "emailLinks",
        "pendingRegistrations",
        "mails",
        "auditEvents",
    },
    "education": {
        "name",
        "authoredCourses",
        "enrollments",
        "completedLessons",
        "quizAttempts",
        "certificates",
        "auditEvents",
    },
    "payment": {
        "wallets",
        "balances",
        "walletStateChanges",
        "transactions",
        "payments",
        "refunds",
        "holds",
        "webhooks",
        "auditEvents",
    },
}
"""All that an export contains, by service."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; RFC 8259 leaves open what a parser makes of one with a name twice."""
    made = dict(members)
    assert len(made) == len(members), [name for name, _ in members]
    return made


async def test_an_export_has_all_of_a_person_and_no_secret(platform: Platform) -> None:
    person = await platform.register(EMAIL, NAME, 1000)
    friend = await platform.register("friend@example.com", "Sipho", 1000)
    course = await platform.economy.education.admin().published()
    enrollment = await person.learner.enroll(course)
    await person.learner.study.complete(enrollment.id, lesson_ids(course)[0])
    await spread(platform, person, friend)
    await named(platform)
    document = await platform.export(person)
    exported = json.loads(document, object_pairs_hook=_object)
    assert exported["userId"] == person.id
    auth, education, payment = exported["auth"], exported["education"], exported["payment"]
    assert {service: set(kept) for service, kept in exported.items() if service != "userId"} == COLLECTIONS
    (profile,) = auth["users"]
    assert (profile["email"], profile["name"], profile["preferences"]) == (EMAIL, NAME, {"nick": NAME})
    assert {session["device"] for session in auth["sessions"]} >= {f"{MARK}'s telephone"}
    assert education["name"] == NAME
    (studied,) = education["enrollments"]
    assert (studied["id"], studied["completedLessons"]) == (enrollment.id, 1)
    assert [done["lessonId"] for done in education["completedLessons"]] == [lesson_ids(course)[0]]
    assert [(balance["currency"], balance["held"]) for balance in payment["balances"]] == [("AZR", "75")]
    assert [entry["amount"] for entry in payment["transactions"]] == ["1000", "-100", "50", "-25", "10", "5", "5"]
    assert payment["payments"][0]["description"] == f"For {NAME}'s school"
    assert payment["webhooks"][0]["url"] == f"https://{MARK}.example.com/hook"
    for secret in (b"hash", b"digest", b"secret", b"sealed"):
        assert secret not in document


async def test_an_export_is_complete_or_fails(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    platform.to_education.silent.add("*")
    refused = await refusal(platform.export(person))
    assert (refused.code, refused.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_an_export_of_nothing_is_a_document(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    exported = json.loads(await platform.export(person))
    assert exported["education"]["enrollments"] == exported["payment"]["transactions"] == []
