"""What is compared: the calls that people make most, each with its peers and with what it is to reach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import orjson
from azora.education.v1 import course_service_pb2

from bench import client, peers
from bench.chain import GET_WALLET, chain_comparison
from bench.client import Request
from bench.compare import Comparison, Subject, Target
from bench.echo import ECHO
from bench.errors import WrongAnswer
from bench.statistics import cpu_ratio, throughput_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack
    from pathlib import Path
    from typing import Any

    from bench.peers import Peer
    from bench.system import People, System

OURS, FASTAPI, ENVOY_ECHO, CHAIN_ECHO = "azora", "FastAPI + ORM", "echo through Envoy", "echo behind the chain"
SMALL_ECHO = "bare echo of 100 bytes"
SMALL = b"x" * 100
LIST_COURSES = "/azora.education.v1.CourseService/ListCourses"
GET_COURSE = "/azora.education.v1.CourseService/GetCourse"
GET_PROFILE = "/azora.auth.v1.AuthService/GetProfile"
MIN_PEER_BYTES_RATIO = 0.9
"""Of the bytes of our answer: what the peer leaves out must not be why it is quick."""


@dataclass(frozen=True, slots=True)
class Stage:
    """All that runs: the system and the peers."""

    system: System
    people: People
    course_id: str
    """The course in which the student is enrolled."""
    fastapi: Peer
    bare: Peer
    chained: Peer
    enveloped: Peer
    """The echo behind the chain behind Envoy."""

    @classmethod
    async def set(cls, stack: AsyncExitStack, folder: Path, system: System, people: People) -> Stage:
        """Record the system's answers and start the peers, which end with the stack."""
        enrollments = (await people.get("/v1/enrollments", people.student))["enrollments"]
        course_id: str = enrollments[0]["courseId"]
        recorded = {
            request.path: await client.call(request)
            for request in (
                Request(system.socket("education"), LIST_COURSES, grpc=True),
                Request(system.socket("education"), GET_COURSE, body=_get_course(course_id), grpc=True),
                Request(system.socket("payment"), GET_WALLET, people.student, grpc=True),
            )
        }
        bare = await stack.enter_async_context(peers.echo(folder, recorded, chained=False))
        chained = await stack.enter_async_context(peers.echo(folder, recorded, chained=True))
        enveloped = await stack.enter_async_context(peers.echo_behind_envoy(folder, system, chained, "/v1/courses"))
        fastapi = await stack.enter_async_context(peers.fastapi_peer(folder, system, people.student_id))
        return cls(system, people, course_id, fastapi, bare, chained, enveloped)

    def quick(self) -> list[Comparison]:
        """Return what the targets are about."""
        course, peer_course = f"/v1/courses/{self.course_id}", f"/courses/{self.course_id}"
        return [
            Comparison(
                "bare echo, gRPC",
                (Subject(SMALL_ECHO, Request(self.bare.target, ECHO, body=SMALL, grpc=True), self.bare.processes),),
            ),
            self._public_json("catalogue page", "/v1/courses", "/courses"),
            self._public_json("published course", course, peer_course),
            self._public_grpc("catalogue page", LIST_COURSES, b""),
            self._public_grpc("published course", GET_COURSE, _get_course(self.course_id)),
            self._own_json("course with lessons, enrolled", "education", course, f"{peer_course}/lessons"),
            self._own_json("own wallet", "payment", "/v1/wallet", "/wallet"),
            self._own_json("own profile", "auth", "/v1/auth/profile", "/profile"),
            chain_comparison(self.bare, self.chained),
        ]

    def more(self) -> list[Comparison]:
        """Return reads that have no target of their own: signed in, over gRPC."""
        edge, system = self.system.edge, self.system
        return [
            Comparison(
                f"{name}, gRPC",
                (
                    Subject("azora through Envoy", replace(at_socket, target=edge), system.behind_edge(service)),
                    Subject("azora at its socket", at_socket, system.behind_socket(service)),
                ),
            )
            for name, service, at_socket in self.hot_paths()
            if at_socket.headers
        ]

    def hot_paths(self) -> list[tuple[str, str, Request]]:
        """Return the reads as gRPC at a service's socket: what each is, its service, and the request."""
        course, student = _get_course(self.course_id), self.people.student
        calls: tuple[tuple[str, str, str, bytes, Mapping[str, str]], ...] = (
            ("catalogue page", "education", LIST_COURSES, b"", {}),
            ("published course", "education", GET_COURSE, course, {}),
            ("course with lessons, enrolled", "education", GET_COURSE, course, student),
            ("own wallet", "payment", GET_WALLET, b"", student),
            ("own profile", "auth", GET_PROFILE, b"", student),
        )
        return [
            (name, service, Request(self.system.socket(service), path, headers, body, grpc=True))
            for name, service, path, body, headers in calls
        ]

    async def check_agreement(self) -> None:
        """Check that the peers answer what the system answers. Raises WrongAnswer."""
        for comparison in self.quick():
            answers = {subject.name: await client.call(subject.request) for subject in comparison.subjects}
            if FASTAPI in answers:
                ours, theirs = answers[OURS], answers[FASTAPI]
                if len(theirs) < MIN_PEER_BYTES_RATIO * len(ours):
                    raise WrongAnswer(f"{comparison.name}: the peer leaves out too much: {theirs!r}")
                check_part(orjson.loads(theirs), orjson.loads(ours), comparison.name)
            for echo in (ENVOY_ECHO, CHAIN_ECHO):
                if OURS in answers and answers.get(echo, answers[OURS]) != answers[OURS]:
                    raise WrongAnswer(f"{comparison.name}: the echo differs: {answers[echo]!r}")

    def _public_json(self, name: str, path: str, peer_path: str) -> Comparison:
        what = f"{name}, JSON"
        return Comparison(
            what,
            (
                self._ours("education", path),
                Subject(FASTAPI, Request(self.fastapi.target, peer_path), self.fastapi.processes),
                Subject(ENVOY_ECHO, Request(self.enveloped.target, path), self.enveloped.processes),
            ),
            (_over(what, FASTAPI, 2, 3), _over(what, ENVOY_ECHO, 0.75, 0.9)),
        )

    def _public_grpc(self, name: str, path: str, body: bytes) -> Comparison:
        what = f"{name}, gRPC"
        system = self.system
        return Comparison(
            what,
            (
                Subject(
                    OURS,
                    Request(system.socket("education"), path, body=body, grpc=True),
                    system.behind_socket("education"),
                ),
                Subject(CHAIN_ECHO, Request(self.chained.target, path, body=body, grpc=True), self.chained.processes),
            ),
            (_over(what, CHAIN_ECHO, 0.8, 0.9),),
        )

    def _own_json(self, name: str, service: str, path: str, peer_path: str) -> Comparison:
        what = f"{name}, JSON"
        peer = Request(self.fastapi.target, peer_path, self.fastapi.bearer)
        return Comparison(
            what,
            (self._ours(service, path, signed_in=True), Subject(FASTAPI, peer, self.fastapi.processes)),
            (_over(what, FASTAPI, 1.8, 2.5),),
        )

    def _ours(self, service: str, path: str, *, signed_in: bool = False) -> Subject:
        headers = self.people.student if signed_in else {}
        return Subject(OURS, Request(self.system.edge, path, headers), self.system.behind_edge(service))


def check_part(part: Any, whole: Any, where: str) -> None:
    """Check that everything in a JSON value is in the other one, too. Raises WrongAnswer.

    Numbers may be text (as protobuf's JSON has 64 bits), times may have more digits, page tokens are each one's own.
    """
    if where.endswith(".nextPageToken") and bool(part) is bool(whole):
        return
    if isinstance(part, dict) and isinstance(whole, dict):
        for name, value in part.items():
            check_part(value, whole.get(name), f"{where}.{name}")
    elif isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        for number, (value, other) in enumerate(zip(part, whole, strict=True)):
            check_part(value, other, f"{where}[{number}]")
    elif part != whole and str(part) != str(whole) and not _same_time(part, whole):
        raise WrongAnswer(f"{where}: the peer answers {part!r}, the system {whole!r}")


def _same_time(one: Any, other: Any) -> bool:
    try:
        return datetime.fromisoformat(one) == datetime.fromisoformat(other)
    except (TypeError, ValueError):
        return False


def _over(what: str, peer: str, at_least: float, goal: float) -> Target:
    return Target(
        f"{what}: over {peer}",
        lambda rounds: throughput_ratio(rounds[OURS], rounds[peer]),
        at_least,
        goal,
        cpu=lambda rounds: cpu_ratio(rounds[OURS], rounds[peer]),
    )


def _get_course(course_id: str) -> bytes:
    return course_service_pb2.GetCourseRequest(course_id=course_id).SerializeToString()
