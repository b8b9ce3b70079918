"""Lists and searches of users, by administrators alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import user_pb2
from azora.policy.v1 import permission_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.shared.ids import new_id
from tests.support.administrators import Administrator, administering
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.auth import RunningAuth

THANDI = "thandi@example.com"
STUDENT, EDUCATOR, ADMINISTRATOR = (
    permission_pb2.ROLE_STUDENT,
    permission_pb2.ROLE_EDUCATOR,
    permission_pb2.ROLE_ADMIN,
)


async def people(auth: RunningAuth, *names: str) -> list[str]:
    """Register people; return their ids."""
    return [
        (await auth.register(f"person{number}@example.com", name=name)).user.id for number, name in enumerate(names)
    ]


async def test_users_are_listed_newest_first_in_pages_bound_to_filter_and_caller(
    auth: RunningAuth, admin: Administrator
) -> None:
    ids = await people(auth, *(f"Person {number}" for number in range(5)))
    first = await admin.users(page_size=2)
    second = await admin.users(page_size=4, page_token=first.next_page_token)
    assert [user.id for user in (*first.users, *second.users)] == [*reversed(ids), admin.id]
    assert not second.next_page_token
    changed = await refusal(admin.users(page_size=2, page_token=first.next_page_token, query="person"))
    assert (changed.code, changed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    async with administering(auth, "other@example.com") as other:
        assert await outcome(other.users(page_size=2, page_token=first.next_page_token)) == "PAGE_TOKEN_INVALID"
    assert (await refusal(admin.users(page_size=-1))).fields == ("pageSize",)
    assert len((await admin.users(page_size=10_000)).users) == 7


async def test_a_search_finds_parts_of_names_and_the_beginning_of_addresses(
    auth: RunningAuth, admin: Administrator
) -> None:
    await people(auth, "Thandi Nkosi", "Zoë Müller", "李明")
    for query, found in {
        "thandi": ["Thandi Nkosi"],
        "NKO": ["Thandi Nkosi"],
        "di nk": ["Thandi Nkosi"],
        "  Nkosi ": ["Thandi Nkosi"],
        "o": ["Nomsa", "Thandi Nkosi", "Zoë Müller"],
        "ZOË": ["Zoë Müller"],
        "Zoe\N{COMBINING DIAERESIS}": ["Zoë Müller"],
        "明": ["李明"],
        "person1@EXAMPLE": ["Zoë Müller"],
        "person": ["Thandi Nkosi", "Zoë Müller", "李明"],
        "example.com": [],
        "nkosi thandi": [],
        "": ["Nomsa", "Thandi Nkosi", "Zoë Müller", "李明"],
    }.items():
        assert sorted(await admin.names(query=query)) == found, query


async def test_no_character_of_a_search_is_special(auth: RunningAuth, admin: Administrator) -> None:
    await people(auth, "100 % Thandi", "Under_score", "Back\\slash", "O'Brien", "\N{ELEPHANT} Thandi")
    for query, found in {
        "%": ["100 % Thandi"],
        "_": ["Under_score"],
        "\\": ["Back\\slash"],
        "'": ["O'Brien"],
        "%%%": [],
        "r_s": ["Under_score"],
        "rXs": [],
        "' OR true --": [],
        "{a,b}": [],
        "\N{ELEPHANT}": ["\N{ELEPHANT} Thandi"],
        "x" * 100: [],
    }.items():
        assert await admin.names(query=query) == found, query


async def test_a_search_for_what_no_name_has_is_invalid(admin: Administrator) -> None:
    for query in ("x" * 10_000, "x" * 101, "nul\0", "line\nbreak", "\N{RIGHT-TO-LEFT OVERRIDE}"):
        refused = await refusal(admin.users(query=query))
        assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", ("query",))


async def test_a_search_reads_the_index_of_names(auth: RunningAuth, admin: Administrator) -> None:
    await auth.sql("""
        INSERT INTO users (id, email, email_folded, password_hash, role, name)
        SELECT id::uuid, id, id, '', 'ROLE_STUDENT', 'Person ' || md5(id)
        FROM (SELECT gen_random_uuid()::text FROM generate_series(1, 3000)) AS made (id)
    """)
    await people(auth, "Rarely Named")
    await auth.sql("ANALYZE users")
    for query in ("ely na", "person0@exa"):
        assert await admin.names(query=query) == ["Rarely Named"]

    async def read() -> bool:
        [row] = await auth.sql("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'users_name_ngrams_idx'")
        return bool(row["idx_scan"] >= 2)

    await eventually(read)


async def test_lists_are_filtered_by_role_state_and_time_of_registration(
    auth: RunningAuth, admin: Administrator
) -> None:
    ids = await people(auth, "First", "Second", "Third")
    await admin.set_role(ids[0], EDUCATOR)
    await admin.disable(ids[1])
    assert await admin.names(role=EDUCATOR) == ["First"]
    assert await admin.names(role=ADMINISTRATOR) == ["Nomsa"]
    assert await admin.names(state=user_pb2.USER_STATE_DISABLED) == ["Second"]
    assert await admin.names(state=user_pb2.USER_STATE_ACTIVE, role=STUDENT) == ["Third"]
    assert await admin.names(state=user_pb2.USER_STATE_DISABLED, query="third") == []
    created = (await admin.get(ids[1])).user.create_time
    third = (await admin.get(ids[2])).user.create_time
    assert await admin.names(start_time=created) == ["Third", "Second"]
    assert await admin.names(start_time=created, end_time=third) == ["Second"]
    assert await admin.names(end_time=created) == ["First", "Nomsa"]


async def test_filters_must_be_valid(admin: Administrator) -> None:
    assert (await refusal(admin.users(role=77))).fields == ("role",)
    assert (await refusal(admin.users(state=77))).fields == ("state",)
    assert (await refusal(admin.users(start_time=Timestamp(seconds=10**12)))).fields == ("startTime",)
    assert await admin.names(start_time=Timestamp(seconds=253402300799)) == []
    assert await admin.names(end_time=Timestamp(seconds=-62135596800)) == []


async def test_a_user_is_read_whatever_the_state(auth: RunningAuth, admin: Administrator) -> None:
    registered = (await auth.register(THANDI)).user
    assert (await admin.get(registered.id)).user == registered
    for state in ("DISABLED", "DELETING"):
        await auth.sql("UPDATE users SET state = $1 WHERE email = $2", state, THANDI)
        assert (await admin.get(registered.id)).user.state == user_pb2.UserState.Value(f"USER_STATE_{state}")


async def test_an_unknown_user_is_not_found(admin: Administrator) -> None:
    unknown = new_id()
    calls = [admin.get(unknown), admin.set_role(unknown, EDUCATOR)]
    for call in [*calls, admin.disable(unknown), admin.enable(unknown), admin.unlock(unknown)]:
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "USER_NOT_FOUND")
    assert (await refusal(admin.get("no id"))).fields == ("userId",)


async def test_only_administrators_administer(auth: RunningAuth, admin: Administrator) -> None:
    session = await auth.register(THANDI)
    await admin.set_role(session.user.id, EDUCATOR)
    for token in (
        (await auth.refresh(session.refresh_token)).access_token,
        (await auth.register("x@example.com")).access_token,
    ):
        other = Administrator("", admin.stub, token)
        for user_id in (admin.id, new_id()):
            calls = [other.get(user_id), other.set_role(user_id, ADMINISTRATOR), other.unlock(user_id)]
            for call in [*calls, other.disable(user_id), other.enable(user_id), other.users()]:
                refused = await refusal(call)
                assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "ACCESS_DENIED")
