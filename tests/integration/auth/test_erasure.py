"""Erasure of a person: no database has their texts afterwards, and the ledger verifies as before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.auth.v1 import auth_service_pb2, user_pb2
from azora.payment.v1 import wallet_pb2

from services.payment.admin import verify_ledger
from services.payment.payments.commands import Earn
from services.payment.payments.model import Earning
from services.shared.audit.denials import Denials
from services.shared.db import Database
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.principal import Principal
from tests.support.education import lesson_ids
from tests.support.payment import azr
from tests.support.personal_texts import EMAIL, MARK, NAME, freeze, left_behind, named, spread
from tests.support.refusals import outcome, refusal
from tests.support.second_factors import client_of
from tests.support.services import SERVICES
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.platform import Platform

ADMIN = "admin@example.com"
DELETED = "Your account is being deleted"


async def findings(platform: Platform) -> list[Any]:
    """Return what is wrong with the ledger."""
    pages = [page async for page in verify_ledger(platform.economy.payment.app_url)]
    return [finding for page in pages for finding in page.findings]


async def forfeited(platform: Platform, user_id: str) -> int:
    """Return how much of a person's AZR went to the treasury."""
    (row,) = await platform.economy.payment.sql(
        """
        SELECT coalesce(-sum(entries.amount), 0)::bigint AS amount
        FROM wallets JOIN accounts ON accounts.owner_id = wallets.id
            JOIN entries ON entries.account_id = accounts.id
            JOIN transactions ON transactions.id = entries.transaction_id
        WHERE wallets.user_id = $1 AND transactions.type = 'FORFEITURE'
        """,
        user_id,
    )
    return int(row["amount"])


async def test_no_database_has_a_persons_texts_after_the_erasure_and_the_ledger_verifies(platform: Platform) -> None:
    person = await platform.register(EMAIL, NAME, 1000, role="ROLE_EDUCATOR")
    friend = await platform.register("friend@example.com", "Sipho", 1000)
    course = await person.learner.study.published()
    mine = await platform.economy.education.admin().published()
    enrollment = await person.learner.enroll(mine, key="mine")
    await person.learner.study.complete(enrollment.id, lesson_ids(mine)[0], key="mine, too")
    await spread(platform, person, friend)
    await left_behind(platform, person.id)
    await named(platform)
    places = await platform.found(MARK)
    assert places >= {
        *(("auth", "users", column) for column in ("name", "email", "bio", "location", "preferences")),
        *(("auth", table, column) for table, column in (("devices", "name"), ("sessions", "device"))),
        ("auth", "pending_registrations", "email"),
        ("auth", "email_links", "email"),
        *(("payment", table, "description") for table in ("memos", "payments", "holds", "webhooks")),
        *(("payment", table, "reason") for table in ("refunds", "wallet_state_changes")),
        ("payment", "idempotency_records", "response"),
        ("payment", "webhooks", "url"),
        *((service, "pgqueuer", "payload") for service in SERVICES),
        ("auth", "outbox", "payload"),
    }
    assert await platform.keyed(person.id) == {"education": 2, "payment": 4}
    to_address = "SELECT FROM mails WHERE kind = 'registration'"
    reset = "SELECT FROM pgqueuer WHERE entrypoint = 'send_password_reset'"
    assert await platform.auth.sql(to_address)
    assert await platform.auth.sql(reset)
    balance = (await person.learner.purse.balance())[0]
    await platform.delete(person)
    await platform.erased(person.id)

    assert await platform.found(MARK) == set()
    # What is left knows the person by an opaque ID alone.
    assert await platform.found(person.id) == {
        ("auth", "audit_events", "target"),
        ("auth", "audit_events", "user_id"),
        ("auth", "erasures", "requester_id"),
        ("auth", "erasures", "user_id"),
        ("auth", "pgqueuer", "dedupe_key"),
        ("auth", "pgqueuer", "payload"),
        ("auth", "revocations", "user_id"),
        ("auth", "service_erasures", "user_id"),
        ("education", "audit_events", "user_id"),
        ("education", "courses", "educator_id"),
        ("education", "people", "user_id"),
        ("payment", "audit_events", "target"),
        ("payment", "wallet_state_changes", "actor_id"),
        ("payment", "wallets", "user_id"),
    }
    assert await platform.keyed(person.id) == {"education": 0, "payment": 0}
    assert not await platform.auth.sql("SELECT 1 FROM mails WHERE user_id = $1", person.id)
    assert not await platform.auth.sql(to_address)
    assert not await platform.auth.sql(reset)
    assert await platform.audit_findings() == []
    assert await findings(platform) == []
    assert (await platform.economy.payment.trial_balance()).balanced
    assert await forfeited(platform, person.id) == balance == 945
    shown = await friend.learner.study.read(course.id)
    assert (shown.title, shown.educator_name) == (course.title, "")


async def test_the_forfeiture_is_a_transaction_that_everyone_sees(platform: Platform) -> None:
    person = await platform.register(EMAIL, minor_units=500)
    await platform.delete(person)
    await platform.erased(person.id)
    last, *_ = (await person.learner.purse.transactions()).transactions
    assert (last.type, last.amount, last.description) == (wallet_pb2.TRANSACTION_TYPE_FORFEITURE, azr(-500), "")
    assert (await person.learner.purse.wallet()).state == wallet_pb2.WALLET_STATE_CLOSED
    assert await outcome(platform.economy.payment.earn(person.learner.purse, 1)) == "WALLET_CLOSED"


async def test_deleting_signs_out_at_once_and_is_told_by_mail(platform: Platform) -> None:
    administrator, person = await platform.register(ADMIN, role="ROLE_ADMIN"), await platform.register(EMAIL)
    platform.to_education.silent.add("*")  # Auth, which deletes mails, comes last.
    await platform.delete(person)
    assert await platform.subjects(administrator, EMAIL) == [DELETED]
    assert (await platform.auth.recorded(f"users/{person.id}")).count("user.delete") == 1
    assert await outcome(platform.auth.refresh(person.refresh_token)) == "REFRESH_TOKEN_INVALID"
    assert await outcome(platform.auth.login(EMAIL)) == "CREDENTIALS_INVALID"

    async def refused() -> bool:
        call = platform.auth.auth.GetProfile(auth_service_pb2.GetProfileRequest(), metadata=person.metadata)
        return await outcome(call) in ("TOKEN_INVALID", "USER_NOT_FOUND")

    await eventually(refused, within_seconds=5)


async def test_an_address_is_free_again_after_the_erasure(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    await platform.delete(person)
    await platform.erased(person.id)
    assert (await platform.register(EMAIL)).id != person.id


async def test_deleting_asks_for_the_password(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    refused = await refusal(platform.delete(person, password="not the password"))
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "CONFIRMATION_INVALID")
    assert not await platform.auth.sql("SELECT 1 FROM erasures")


async def test_deleting_asks_for_a_code_of_the_second_factor(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    async with client_of(platform.auth) as client:
        authenticator, _ = await client.enable(person.metadata[0][1].removeprefix("Bearer "))
    assert await outcome(platform.delete(person)) == "CONFIRMATION_REQUIRED"
    assert await outcome(platform.delete(person, code=authenticator.wrong_code())) == "CONFIRMATION_INVALID"
    assert not await platform.auth.sql("SELECT 1 FROM erasures")
    await platform.delete(person, code=authenticator.next_code())
    await platform.erased(person.id)


async def test_a_balance_is_forfeited_only_if_the_request_says_so(platform: Platform) -> None:
    person = await platform.register(EMAIL, minor_units=500)
    refused = await refusal(platform.delete(person, forfeit=False))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "BALANCE_NOT_FORFEITED")
    assert refused.metadata == {"balances": "AZR:500"}
    assert not await platform.auth.sql("SELECT 1 FROM erasures")
    assert (await platform.auth.login(EMAIL)).access_token
    await platform.delete(person)
    await platform.erased(person.id)


async def test_without_a_balance_nothing_need_be_forfeited(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    await platform.delete(person, forfeit=False)
    await platform.erased(person.id)


async def test_while_payment_is_away_only_a_request_that_forfeits_is_taken(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    platform.to_payment.silent.add("*")
    refused = await refusal(platform.delete(person, forfeit=False))
    assert (refused.code, refused.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    await platform.delete(person)


async def test_administrators_delete_users_and_see_how_far_it_is(platform: Platform) -> None:
    administrator = await platform.register(ADMIN, role="ROLE_ADMIN")
    person = await platform.register(EMAIL, NAME, 500)
    platform.to_education.silent.add("*")
    await platform.delete_user(administrator, person.id)
    await platform.delete_user(administrator, person.id)  # Changes nothing.

    async def waits() -> bool:
        return await platform.pending(person.id, "education") == "the service is unavailable"

    await eventually(waits)
    shown = await platform.get_user(administrator, person.id)
    assert shown.user.state == user_pb2.USER_STATE_DELETING
    assert shown.erasure.requester_id == administrator.id
    assert [(service.service, service.pending) for service in shown.erasure.services] == [
        ("education", "the service is unavailable"),
        ("payment", ""),
        ("auth", ""),
    ]
    assert not any(service.HasField("confirm_time") for service in shown.erasure.services)
    assert await platform.subjects(administrator, EMAIL) == [DELETED]
    platform.to_education.silent.clear()
    await platform.erased(person.id)
    assert await outcome(platform.get_user(administrator, person.id)) == "USER_NOT_FOUND"
    assert await outcome(platform.delete_user(administrator, person.id)) == "USER_NOT_FOUND"
    assert await forfeited(platform, person.id) == 500


async def test_only_administrators_delete_others(platform: Platform) -> None:
    student, person = await platform.register("student@example.com"), await platform.register(EMAIL)
    assert (await refusal(platform.delete_user(student, person.id))).code == "PERMISSION_DENIED"


async def test_the_last_administrator_cannot_be_deleted(platform: Platform) -> None:
    administrator = await platform.register(ADMIN, role="ROLE_ADMIN")
    for attempt in (platform.delete(administrator), platform.delete_user(administrator, administrator.id)):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LAST_ADMINISTRATOR")
    assert (await platform.auth.login(ADMIN)).access_token


async def test_administrators_delete_themselves_with_their_password_only(platform: Platform) -> None:
    administrator = await platform.register(ADMIN, role="ROLE_ADMIN")
    await platform.register("other@example.com", role="ROLE_ADMIN")
    refused = await refusal(platform.delete_user(administrator, administrator.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "CONFIRMATION_REQUIRED")
    await platform.delete(administrator)


async def test_what_is_being_paid_ends_first_and_its_hold_is_released(platform: Platform) -> None:
    course = await platform.economy.course()
    person = await platform.register(EMAIL, minor_units=60_00)
    platform.economy.to_payment.lost.add("CreateHold")  # Held, and Education does not know.
    assert await outcome(person.learner.enroll(course)) == "DEPENDENCY_UNAVAILABLE"
    assert await person.learner.purse.balance() == (60_00, 49_00, 11_00)
    await platform.delete(person)

    async def waits() -> bool:
        return bool(await platform.pending(person.id, "education"))

    await eventually(waits)
    platform.economy.to_payment.lost.clear()
    await platform.erased(person.id)
    assert await person.learner.purse.balance() == (0, 0, 0)
    assert await forfeited(platform, person.id) == 60_00
    assert not await platform.economy.education.sql("SELECT 1 FROM enrollments")
    assert await findings(platform) == []


async def test_a_reward_that_is_under_way_arrives_and_is_forfeited(platform: Platform) -> None:
    course = await platform.economy.course(price=azr(0))
    person = await platform.register(EMAIL, minor_units=1)
    enrollment = await person.learner.enroll(course)
    platform.economy.to_payment.silent.add("Earn")
    for lesson_id in lesson_ids(course):
        await person.learner.study.complete(enrollment.id, lesson_id)
    await platform.delete(person)

    async def waits() -> bool:
        return await platform.pending(person.id, "education") == "jobs of the person are still to run"

    await eventually(waits)
    platform.economy.to_payment.silent.clear()
    await platform.erased(person.id)
    assert await forfeited(platform, person.id) == 75_01


async def test_a_pending_refund_is_decided_first(platform: Platform) -> None:
    course = await platform.economy.course()
    person = await platform.register(EMAIL, minor_units=49_00)
    enrollment = await person.learner.enroll(course)
    platform.economy.to_education.silent.add("CloseEnrollment")
    assert await outcome(person.learner.purse.refund(enrollment.payment_id)) == "DEPENDENCY_UNAVAILABLE"
    assert (await refusal(platform.delete(person, forfeit=False))).metadata == {"balances": "AZR:4900"}
    await platform.delete(person)

    async def waits() -> bool:
        return bool(await platform.pending(person.id, "payment"))

    await eventually(waits)
    platform.economy.to_education.silent.clear()
    await platform.erased(person.id)
    assert await forfeited(platform, person.id) == 49_00
    assert await findings(platform) == []


async def test_a_frozen_wallet_is_forfeited_too(platform: Platform) -> None:
    person = await platform.register(EMAIL, minor_units=500)
    await freeze(platform, person.learner.purse, "Suspected fraud")
    await platform.delete(person)
    await platform.erased(person.id)
    assert await forfeited(platform, person.id) == 500
    assert await findings(platform) == []


async def test_every_currency_is_forfeited(platform: Platform) -> None:
    person = await platform.register(EMAIL, minor_units=500)
    payment = platform.economy.payment
    earning = Earning(person.id, Money(700, "ZAR"), reference=new_id(), description="")
    await payment.replica.earnings._writer.run(Earn(earning, reference_owner="education"))
    assert (await refusal(platform.delete(person, forfeit=False))).metadata == {"balances": "AZR:500,ZAR:700"}
    await platform.delete(person)
    await platform.erased(person.id)
    assert await forfeited(platform, person.id) == 1200
    assert (await payment.trial_balance()).balanced


async def test_a_name_that_is_told_late_stays_erased(platform: Platform) -> None:
    person = await platform.register(EMAIL, NAME)
    await named(platform)
    (event,) = [
        event for _, event in platform.auth.subscribers.received if event.what.TypeName().endswith("UserRenamed")
    ]
    await platform.delete(person)
    await platform.erased(person.id)
    event.id = new_id()
    await platform.auth.subscribers.send("education", [event])
    assert await platform.found(MARK) == set()


async def test_anothers_key_keeps_its_effect_and_loses_the_answer_that_names_the_person(platform: Platform) -> None:
    person, friend = await platform.register(EMAIL, NAME), await platform.register("friend@example.com", "Sipho", 100)

    async def transfer() -> object:
        return await friend.learner.purse.transfer(person.learner.purse, 10, key="mine", description=f"For {NAME}")

    await transfer()
    await platform.delete(person)
    await platform.erased(person.id)
    refused = await refusal(transfer())
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "ANSWER_ERASED")
    assert (await friend.learner.purse.balance())[0] == 90


async def test_a_wallet_is_not_opened_for_an_erased_person(platform: Platform) -> None:
    platform.auth.subscribers.answer = False
    person = await platform.register(EMAIL)
    await platform.delete(person, forfeit=False)

    async def waits() -> bool:
        return bool(await platform.pending(person.id, "auth"))

    await eventually(waits)
    platform.auth.subscribers.answer = True
    await platform.erased(person.id)
    assert await outcome(platform.economy.payment.earn(person.learner.purse, 1)) == "WALLET_CLOSED"
    assert await findings(platform) == []


async def test_what_a_replica_that_auth_did_not_reach_wrote_meanwhile_is_erased_too(platform: Platform) -> None:
    course = await platform.economy.course(price=azr(0))
    person = await platform.register(EMAIL)
    await platform.delete(person)
    await platform.erased(person.id)
    await person.learner.enroll(course)
    database = Database(platform.economy.payment.app_url, pool_size=1)
    denials = Denials(database=database)
    denials.count(Principal(user_id=person.id, address=f"of {MARK}"), "/azora.payment.v1.PaymentService/Earn")
    await denials.flush(everything=True)
    await database.close()
    assert await platform.found(MARK) == {("payment", "audit_origins", "address")}
    await platform.erase_remainder(person.id)
    assert await platform.found(MARK) == set()
    assert ("education", "enrollments", "user_id") not in await platform.found(person.id)
