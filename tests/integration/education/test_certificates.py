"""Certificates: issued with the completion, verified by anyone, revoked for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from azora.education.v1 import certificate_pb2
from azora.education.v1 import certificate_service_pb2 as pb

from services.shared.ids import new_id
from tests.support.authoring import update
from tests.support.credentials import certified, listed, named, revoke
from tests.support.education import azr, lesson_ids
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.education import Person, RunningEducation

pytestmark = pytest.mark.shared

ISSUED, REVOKED = certificate_pb2.CERTIFICATE_STATE_ISSUED, certificate_pb2.CERTIFICATE_STATE_REVOKED


async def get(person: Person, certificate_id: str) -> pb.GetCertificateResponse:
    request = pb.GetCertificateRequest(certificate_id=certificate_id)
    return await person.education.certificates.GetCertificate(request, metadata=person.metadata)


async def verify(education: RunningEducation, certificate_id: str) -> pb.VerifyCertificateResponse:
    return await education.certificates.VerifyCertificate(pb.VerifyCertificateRequest(certificate_id=certificate_id))


async def test_the_last_required_lesson_issues_the_certificate_once(education: RunningEducation) -> None:
    course = await education.educator().published(title="Sourdough")
    learner = education.person()
    await named(education, learner.id, "Ada Lovelace")
    enrollment = await learner.enroll(course.id)
    *before, last, optional = lesson_ids(course)
    for lesson_id in before:
        await learner.complete(enrollment.id, lesson_id)
    assert not (await listed(learner)).certificates, "no certificate without completion"
    completed = await learner.complete(enrollment.id, last)
    (certificate,) = (await listed(learner)).certificates
    assert (certificate.course_id, certificate.course_revision, certificate.course_title) == (course.id, 1, "Sourdough")
    assert (certificate.learner_name, certificate.state) == ("Ada Lovelace", ISSUED)
    assert certificate.issue_time.seconds == completed.complete_time.seconds
    assert not certificate.issue_time.nanos
    assert not certificate.HasField("revoke_time")
    await learner.complete(enrollment.id, last)
    await learner.complete(enrollment.id, optional)
    assert list((await listed(learner)).certificates) == [certificate]
    assert (await get(learner, certificate.id)).certificate == certificate


async def test_a_course_that_is_not_paid_yet_has_no_certificate(education: RunningEducation) -> None:
    course = await education.educator().published(price=azr(500))
    learner = education.person()
    education.payments.silent.add("capture")
    assert (await refusal(learner.enroll(course.id, key="k"))).code == "UNAVAILABLE"
    ((enrollment_id,),) = await education.sql("SELECT id::text FROM enrollments WHERE user_id = $1", learner.id)
    for lesson_id in lesson_ids(course):
        await learner.complete(enrollment_id, lesson_id)
    assert not (await listed(learner)).certificates
    education.payments.silent.clear()
    await education.recover(learner.id)
    assert await education.state(learner.id) == "COMPLETED"
    assert len((await listed(learner)).certificates) == 1


async def test_a_certificate_names_the_revision_that_was_completed(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published(title="Sourdough")
    enrollment = await learner.enroll(course.id)
    await update(educator, course.id, title="Rye")
    assert (await educator.publish(course.id)).revision == 2
    for lesson in (await learner.progress(enrollment.id)).lessons:
        await learner.complete(enrollment.id, lesson.lesson_id)
    (certificate,) = (await listed(learner)).certificates
    assert (certificate.course_revision, certificate.course_title) == (1, "Sourdough")


async def test_certificates_are_listed_newest_first_in_pages_and_are_their_owners_alone(
    education: RunningEducation,
) -> None:
    educator, learner, other = education.educator(), education.person(), education.person()
    courses = [await educator.published(title=f"Bread {number}") for number in range(3)]
    for course in courses:
        enrollment = await learner.enroll(course.id)
        for lesson_id in lesson_ids(course):
            await learner.complete(enrollment.id, lesson_id)
    first = await listed(learner, page_size=2)
    second = await listed(learner, page_size=2, page_token=first.next_page_token)
    titles = [certificate.course_title for page in (first, second) for certificate in page.certificates]
    assert titles == ["Bread 2", "Bread 1", "Bread 0"]
    assert not second.next_page_token
    assert not (await listed(other)).certificates
    refused = await refusal(get(other, first.certificates[0].id))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "CERTIFICATE_NOT_FOUND")
    assert (await refusal(listed(other, page_token=first.next_page_token))).reason == "PAGE_TOKEN_INVALID"
    assert (await refusal(listed(education.anyone()))).code == "UNAUTHENTICATED"
    assert (await refusal(get(education.anyone(), first.certificates[0].id))).code == "UNAUTHENTICATED"


async def test_anyone_verifies_a_certificate_by_its_id(education: RunningEducation) -> None:
    course = await education.educator().published()
    learner = education.person()
    certificate = await certified(learner, course.id)
    assert (await verify(education, certificate.id)).certificate.learner_name == "", "not known yet"
    await named(education, learner.id, "Ada Lovelace")
    answer = await verify(education, certificate.id)
    assert answer.valid
    assert answer.certificate.learner_name == "Ada Lovelace"
    assert answer.certificate.course_title == certificate.course_title
    refused = await refusal(verify(education, new_id()))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "CERTIFICATE_NOT_FOUND")
    assert (await refusal(verify(education, "1"))).code == "INVALID_ARGUMENT"


async def test_the_courses_educator_and_administrators_revoke_and_nobody_else(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    certificate = await certified(learner, course.id)
    await named(education, learner.id, "Ada Lovelace")
    assert (await refusal(revoke(learner, certificate.id))).code == "PERMISSION_DENIED"
    assert (await refusal(revoke(education.anyone(), certificate.id))).code == "UNAUTHENTICATED"
    refused = await refusal(revoke(education.educator(), certificate.id))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "CERTIFICATE_NOT_FOUND")
    assert (await refusal(revoke(educator, new_id()))).reason == "CERTIFICATE_NOT_FOUND"
    assert (await verify(education, certificate.id)).valid
    revoked = await revoke(educator, certificate.id)
    assert (revoked.state, revoked.learner_name) == (REVOKED, "")
    assert await revoke(education.admin(), certificate.id) == revoked, "for good, and once"
    answer = await verify(education, certificate.id)
    assert not answer.valid
    assert answer.certificate == revoked
    own = await get(learner, certificate.id)
    assert (own.certificate.state, own.certificate.revoke_reason, own.credential) == (REVOKED, "Copied.", "")
    assert await education.replica.persons.erase_person(user_id=learner.id) == ""
    assert (await get(learner, certificate.id)).certificate.revoke_reason == ""
    events = await education.sql(
        "SELECT user_id::text, outcome FROM audit_events WHERE action = 'certificate.revoke' AND target = $1",
        f"certificates/{certificate.id}",
    )
    assert [tuple(row) for row in events] == [(educator.id, "SUCCEEDED")]


async def test_a_certificate_outlives_the_person_revoked_and_without_the_name(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    certificate = await certified(learner, course.id)
    await named(education, learner.id, "Ada Lovelace")
    exported = b"".join([part async for part in education.replica.persons.export_person(user_id=learner.id)])
    assert certificate.id.encode() in exported
    assert await education.replica.persons.erase_person(user_id=learner.id) == ""
    assert not await education.sql("SELECT id FROM enrollments WHERE user_id = $1", learner.id)
    await named(education, learner.id, "Ada Lovelace", version=2)  # An event that was on its way.
    answer = await verify(education, certificate.id)
    assert not answer.valid
    assert (answer.certificate.state, answer.certificate.learner_name) == (REVOKED, "")


async def test_the_service_can_neither_delete_nor_rewrite_certificates(education: RunningEducation) -> None:
    course = await education.educator().published()
    certificate = await certified(education.person(), course.id)
    for statement in (
        "DELETE FROM certificates WHERE id = $1",
        "UPDATE certificates SET user_id = id WHERE id = $1",
        "UPDATE certificates SET status_index = DEFAULT WHERE id = $1",
        "DELETE FROM credential_keys WHERE id = $1",
        "UPDATE credential_keys SET n = '' WHERE id = $1",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await education.sql(statement, certificate.id, app=True)
