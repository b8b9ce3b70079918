"""A learner's whole path over JSON, through the real edge: find a course, pay, study, pass its quiz, prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from tests.support.people import People

PRICE = {"minorUnits": "1500", "currency": "AZR"}
REWARD = {"minorUnits": "500", "currency": "AZR"}


def _course(word: str) -> dict[str, Any]:
    quiz = {
        "questions": [
            {"prompt": "Which?", "options": [{"text": "This", "correct": True}, {"text": "That"}]},
            {"kind": "QUESTION_KIND_SHORT_TEXT", "prompt": "How many?", "acceptedAnswers": ["two"]},
        ],
        "passBasisPoints": 10000,
        "maxAttempts": 2,
    }
    lessons = [
        {"title": "Read", "content": "Much bran."},
        {"title": "Exam", "kind": "LESSON_KIND_QUIZ", "quiz": quiz},
    ]
    return {
        "title": f"Sourdough {word}",
        "price": PRICE,
        "completionReward": REWARD,
        "language": "en",
        "modules": [
            {"title": "Grain", "lessons": lessons[:1]},
            {"title": "Proof", "sequential": True, "lessons": lessons[1:]},
        ],
    }


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody's calls."""

    http: httpx.AsyncClient
    headers: Mapping[str, str]

    async def get(self, path: str, **parameters: str) -> Any:
        """Return an answer."""
        response = await self.http.get(f"/v1{path}", params=parameters, headers=dict(self.headers))
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, refused: str = "", **body: Any) -> Any:
        """Return an answer, or the details of a refusal with this reason."""
        response = await self.http.post(f"/v1{path}", json=body, headers=dict(self.headers))
        if not refused:
            assert response.status_code == 200, response.text
            return response.json()
        details = response.json()["details"]
        assert details[0]["reason"] == refused
        return details

    async def available(self) -> int:
        """Return what the caller can spend."""
        return int((await self.get("/wallet"))["wallet"]["balances"][0]["available"])


async def test_a_learner_finds_pays_studies_passes_and_proves_it(http: httpx.AsyncClient, people: People) -> None:
    word = f"word{uuid4().hex}"
    stranger, learner = Caller(http, {}), Caller(http, await people.student())
    admin = Caller(http, await people.admin())
    written = (await admin.post("/courses", **_course(word)))["course"]
    await admin.post(f"/courses/{written['id']}:publish")
    profile = (await learner.get("/auth/profile"))["user"]
    grant = {"userId": profile["id"], "amount": {"minorUnits": "2000", "currency": "AZR"}, "reference": word}
    await admin.post("/earn", **grant)

    (found,) = (await learner.get("/courses:search", query=word))["courses"]
    course_id = found["id"]
    assert (found["title"], found["price"]) == (f"Sourdough {word}", PRICE)
    enrollment = (await learner.post(f"/courses/{course_id}/enroll"))["enrollment"]
    assert (enrollment["state"], await learner.available()) == ("ENROLLMENT_STATE_ACTIVE", 500)

    course = (await learner.get(f"/courses/{course_id}"))["course"]
    (read,), (exam,) = (module["lessons"] for module in course["modules"])
    lessons = f"/enrollments/{enrollment['id']}/lessons"
    quiz = f"/courses/{course_id}/quizzes/{exam['id']}"
    locked = await learner.post(f"{quiz}/attempts", refused="LESSON_LOCKED")
    assert any(read["id"] in str(detail) for detail in locked)
    progress = (await learner.post(f"{lessons}/{read['id']}:complete"))["enrollment"]["progress"]
    assert progress == {"completedLessons": 1, "requiredLessons": 2, "basisPoints": 5000}
    await learner.post(f"{lessons}/{exam['id']}:complete", refused="QUIZ_NOT_PASSED")

    for right in (False, True):
        attempt = (await learner.post(f"{quiz}/attempts"))["attempt"]
        assert "acceptedAnswers" not in str(attempt)
        answers = [
            {"questionIndex": index, "text": "two" if right else "three"}
            if question["kind"] == "QUESTION_KIND_SHORT_TEXT"
            else {"questionIndex": index, "selectedOptions": [question["options"].index("This")]}
            for index, question in enumerate(attempt["questions"])
        ]
        submitted = (await learner.post(f"/attempts/{attempt['id']}:submit", answers=answers))["attempt"]
        assert submitted["result"]["passed"] is right

    done = (await learner.get(f"/enrollments/{enrollment['id']}"))["enrollment"]
    assert (done["state"], done["progress"]["basisPoints"]) == ("ENROLLMENT_STATE_COMPLETED", 10000)

    async def rewarded() -> bool:
        return await learner.available() == 1000

    await eventually(rewarded)

    async def certificates() -> Any:
        return (await learner.get("/certificates"))["certificates"]

    (certificate,) = await eventually(certificates)
    path = f"/certificates/{certificate['id']}"
    credential = (await learner.get(path))["credential"]
    seen = await stranger.get(f"{path}:verify")
    assert (seen["valid"], seen["certificate"]["courseTitle"]) == (True, f"Sourdough {word}")
    keys = jwt.PyJWKSet.from_dict(await stranger.get("/credentials/jwks"))
    key = keys[jwt.get_unverified_header(credential)["kid"]]
    claims = jwt.decode(credential, key, algorithms=["RS256"], options={"verify_aud": False})
    assert claims["credentialSubject"]["achievement"]["name"] == f"Sourdough {word}"

    await admin.post(f"{path}:revoke", reason="Copied.")
    assert (await stranger.get(f"{path}:verify"))["valid"] is False
