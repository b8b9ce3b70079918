"""Measures lessons completed and edited beside FastAPI and the ORM: python -m bench.lessons [--seconds S] [--rounds N].

Each lesson is completed once a round, by one of many learners in all courses; before the next round all progress is
taken back. The peer writes copies of the same rows, without triggers, certificates and jobs.
`make bench FULL=1` prints the same rows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from azora.education.v1 import course_service_pb2, enrollment_service_pb2

from bench import client, peers
from bench.calls import FASTAPI, check_part
from bench.client import Request
from bench.ledger import by_turns, passable, ratio, sending
from bench.report import print_report
from bench.system import People, access_tokens, running_system
from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import asyncpg
    import psutil

    from bench.compare import Result, Rounds
    from bench.ledger import Run
    from bench.peers import Peer
    from bench.statistics import Round
    from bench.system import System

DATABASE = "bench_lessons"
"""Of the peer."""
LEARNERS, COURSES, CALLERS = 100, 20, 16
TITLES = 100
"""New titles of each lesson that is edited: one that it has already changes nothing."""
GRPC, JSON = "azora, gRPC", "azora, JSON"
COMPLETE = "/azora.education.v1.EnrollmentService/CompleteLesson"
UPDATE = "/azora.education.v1.CourseService/UpdateLesson"
ENROLL = """
INSERT INTO enrollments (id, user_id, course_id, course_revision, state, key, open_time, payment_id, required_lessons,
                         enroll_time)
SELECT uuidv7(), learner, c.id, c.revision, 'ACTIVE', 'bench', now(), CASE WHEN r.price_minor > 0 THEN uuidv7() END,
       (SELECT count(*) FROM jsonb_path_query(r.modules, '$[*].lessons[*] ? (@.required == true)')), now()
FROM unnest($1::uuid[]) AS learner CROSS JOIN courses c
JOIN course_revisions r ON r.course_id = c.id AND r.number = c.revision
WHERE c.state = 'PUBLISHED' AND r.reward_minor = 0
"""
"""In all courses but those whose reward would have Payment work, too."""
LESSONS = """
SELECT CAST(e.user_id AS text), CAST(e.id AS text) AS enrollment_id, l ->> 'id' AS lesson_id
FROM enrollments e JOIN course_revisions r ON r.course_id = e.course_id AND r.number = e.course_revision
CROSS JOIN jsonb_path_query(r.modules, '$[*].lessons[*] ? (@.kind != "QUIZ")') AS l
WHERE e.key = 'bench'
"""
TAKE_BACK = (
    "DELETE FROM lesson_completions",
    "UPDATE enrollments SET state = {active}, completed_lessons = 0, complete_time = NULL WHERE completed_lessons > 0",
    "VACUUM ANALYZE",
)


@dataclass(frozen=True, slots=True)
class Lessons:
    """Learners of the system and of the peer, and the lessons that they complete."""

    system: System
    people: People
    socket: str
    """Where Education listens."""
    fastapi: Peer
    tokens: Mapping[str, str]
    lessons: Sequence[asyncpg.Record]
    """Each with its learner and enrolment."""

    @classmethod
    async def set(cls, stack: AsyncExitStack, folder: Path, system: System, people: People) -> Lessons:
        """Enrol learners and start the peer, which ends with the stack."""
        users = [new_id() for _ in range(LEARNERS)]
        async with system.connection("education") as connection:
            await connection.execute(ENROLL, users)
            lessons = await connection.fetch(LESSONS)
        fastapi = await stack.enter_async_context(
            peers.fastapi_peer(folder, system, people.student_id, database=DATABASE)
        )
        return cls(system, people, system.socket("education"), fastapi, await access_tokens(system, users), lessons)

    async def results(self, measured: dict[str, Rounds], *, rounds: int, callers: int, seconds: float) -> list[Result]:
        """Measure all rows. Raises WrongAnswer."""
        await self.check_agreement()
        completed = await by_turns(
            {
                GRPC: self._completing(self._over_grpc, self.system.behind_socket("education")),
                JSON: self._completing(self._over_json, self.system.behind_edge("education")),
                FASTAPI: self._completing(self._at_peer, self.fastapi.processes),
            },
            rounds=rounds,
            callers=callers,
            seconds=seconds,
        )
        measured["lesson completed"] = completed
        measured["lesson edited"] = await by_turns(
            await self._editing(), rounds=rounds, callers=callers, seconds=seconds
        )
        return [
            ratio("lesson completed, gRPC: over FastAPI + ORM", completed[GRPC], completed[FASTAPI], 3, 3),
            ratio("lesson completed, JSON: over FastAPI + ORM", completed[JSON], completed[FASTAPI], 2, 2),
        ]

    async def check_agreement(self) -> None:
        """Check that the peer answers what the system answers. Raises WrongAnswer."""
        ours, theirs = [
            orjson.loads(await client.call(request(self.lessons[0]))) for request in (self._over_json, self._at_peer)
        ]
        del theirs["enrollment"]["completeTime"]  # Null, where the system leaves it out.
        check_part(theirs, ours, "lesson completed")

    def _over_grpc(self, lesson: asyncpg.Record) -> Request:
        message = enrollment_service_pb2.CompleteLessonRequest(
            enrollment_id=lesson["enrollment_id"], lesson_id=lesson["lesson_id"]
        )
        return Request(self.socket, COMPLETE, self._bearer(lesson["user_id"]), message.SerializeToString(), grpc=True)

    def _over_json(self, lesson: asyncpg.Record) -> Request:
        path = f"/v1/enrollments/{lesson['enrollment_id']}/lessons/{lesson['lesson_id']}:complete"
        return Request(self.system.edge, path, self._bearer(lesson["user_id"]), b"{}")

    def _at_peer(self, lesson: asyncpg.Record) -> Request:
        path = f"/enrollments/{lesson['enrollment_id']}/lessons/{lesson['lesson_id']}/complete"
        return Request(self.fastapi.target, path, self.fastapi.bearer_of(lesson["user_id"]), b"{}")

    def _bearer(self, user: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.tokens[user]}"}

    def _completing(self, request: Callable[[asyncpg.Record], Request], processes: Sequence[psutil.Process]) -> Run:
        requests = [request(lesson) for lesson in self.lessons]
        complete = sending(requests, processes, once=True)

        async def run(callers: int, seconds: float) -> Round:
            await self._take_back()
            random.shuffle(requests)
            return await complete(callers, seconds)

        return run

    async def _take_back(self) -> None:
        for database, active in (("education", "'ACTIVE'"), (DATABASE, "'ENROLLMENT_STATE_ACTIVE'")):
            async with self.system.connection(database) as connection:
                for statement in TAKE_BACK:
                    await connection.execute(statement.format(active=active))

    async def _editing(self) -> dict[str, Run]:
        """Return what edits the first lesson of each of the administrator's courses."""
        listed = (await self.people.get("/v1/courses?mine=true&pageSize=100", self.people.admin))["courses"]
        courses = [(await self.people.get(f"/v1/courses/{course['id']}"))["course"] for course in listed]
        edits = [(course, f"Edition {number}") for course in courses for number in range(TITLES)]
        at_socket = [self._edit(course, title) for course, title in edits]
        at_peer = [self._edit_at_peer(course, title) for course, title in edits]
        return {
            GRPC: sending(at_socket, self.system.behind_socket("education")),
            FASTAPI: sending(at_peer, self.fastapi.processes),
        }

    def _edit(self, course: Any, title: str) -> Request:
        module = course["modules"][0]
        message = course_service_pb2.UpdateLessonRequest(
            course_id=course["id"],
            module_id=module["id"],
            lesson_id=module["lessons"][0]["id"],
            lesson=course_service_pb2.LessonChanges(title=title),
        )
        return Request(self.socket, UPDATE, self.people.admin, message.SerializeToString(), grpc=True)

    def _edit_at_peer(self, course: Any, title: str) -> Request:
        path = f"/lessons/{course['modules'][0]['lessons'][0]['id']}"
        body = orjson.dumps({"title": title})
        headers = {**self.fastapi.bearer_of(course["educatorId"]), "content-type": "application/json"}
        return Request(self.fastapi.target, path, headers, body)


async def _run(options: argparse.Namespace) -> None:
    measured: dict[str, Rounds] = {}
    with tempfile.TemporaryDirectory(prefix="azl") as name:
        folder = passable(name)
        async with (
            running_system(folder / "home") as system,
            People.signed_in(system.edge) as people,
            AsyncExitStack() as stack,
        ):
            await people.write_courses(COURSES)
            lessons = await Lessons.set(stack, folder, system, people)
            results = await lessons.results(measured, rounds=options.rounds, callers=CALLERS, seconds=options.seconds)
    print_report(results, measured, f"{options.rounds} rounds of {options.seconds:g} s at {CALLERS} callers")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.lessons", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--seconds", type=float, default=3, help="length of a round")
    asyncio.run(_run(parser.parse_args()))
