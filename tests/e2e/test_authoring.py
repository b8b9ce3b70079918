"""An educator writes a course over JSON, through the real edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People

QUIZ = {
    "questions": [
        {"prompt": "Which?", "options": [{"text": "This", "correct": True}, {"text": "That"}]},
        {"kind": "QUESTION_KIND_SHORT_TEXT", "prompt": "How many?", "acceptedAnswers": ["two", "2"], "points": 2},
    ],
    "passBasisPoints": 6000,
    "maxAttempts": 3,
    "timeLimit": "600s",
}
COURSE: dict[str, Any] = {
    "title": "Sourdough",
    "language": "en",
    "duration": "36000s",
    "modules": [{"title": "Grain", "lessons": [{"title": "Rye", "content": "Much bran."}]}],
}


async def test_a_course_is_written_edited_and_copied_over_json(http: httpx.AsyncClient, people: People) -> None:
    http.headers.update(await people.educator())

    async def call(method: str, path: str, body: dict[str, Any] | None = None, **parameters: str) -> dict[str, Any]:
        response = await http.request(method, f"/v1/courses{path}", json=body, params=parameters)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    course = (await call("POST", "", COURSE))["course"]
    base, etag = f"/{course['id']}", course["etag"]
    assert (course["language"], course["duration"], course["prerequisites"]) == ("en", "36000s", [])
    body = {"title": "Rye bread", "description": "Not named.", "etag": etag}
    course = (await call("PATCH", base, body, updateMask="title,duration"))["course"]
    assert (course["title"], course["description"], "duration" in course) == ("Rye bread", "", False)
    stale = await http.patch(f"/v1/courses{base}", json={"title": "Late", "etag": etag})
    assert (stale.status_code, stale.json()["details"][0]["reason"]) == (409, "ETAG_MISMATCH")
    made = await call("POST", f"{base}/modules", {"module": {"title": "Exam"}, "etag": course["etag"]})
    modules = f"{base}/modules/{made['module']['id']}"
    quiz = {"title": "Test", "kind": "LESSON_KIND_QUIZ", "quiz": QUIZ}
    made = await call("POST", f"{modules}/lessons", {"lesson": quiz, "etag": made["etag"]})
    lesson = f"{modules}/lessons/{made['lesson']['id']}"
    updated = await call("PATCH", lesson, {"required": False, "etag": made["etag"]})
    assert (updated["lesson"]["title"], updated["lesson"]["required"]) == ("Test", False)
    assert len(updated["lesson"]["quiz"]["questions"]) == 2
    await call("POST", f"{modules}:move", {"position": 0, "etag": updated["etag"]})
    draft = (await call("GET", base, view="COURSE_VIEW_DRAFT"))["course"]
    assert [module["title"] for module in draft["modules"]] == ["Exam", "Grain"]
    published = (await call("POST", f"{base}:publish", {"etag": draft["etag"]}))["course"]
    assert (
        "questions" not in published["modules"][0]["lessons"][0]["quiz"]
        or not (published["modules"][0]["lessons"][0]["quiz"]["questions"])
    )
    assert [revision["revision"] for revision in (await call("GET", f"{base}/revisions"))["revisions"]] == [1]

    exported = await call("GET", f"{base}:export")
    # Near 1 MiB as a message, and half as much again as JSON, which escapes "<".
    text = 'if a < b and "c":\n' * 2500
    lessons = [{"title": "Code", "content": text, "kind": "LESSON_KIND_EXERCISE", "required": True}] * 20
    large = {"document": exported["document"] | {"modules": [{"title": "M", "sequential": True, "lessons": lessons}]}}
    for document in (exported, large):
        copy = (await call("POST", ":import", document))["course"]
        assert await call("GET", f"/{copy['id']}:export") == document
        deleted = await http.delete(f"/v1/courses/{copy['id']}", params={"etag": copy["etag"]})
        assert deleted.status_code == 200, deleted.text
    for rpc, state in (("archive", "COURSE_STATE_ARCHIVED"), ("unarchive", "COURSE_STATE_PUBLISHED")):
        assert (await call("POST", f"{base}:{rpc}", {}))["course"]["state"] == state
    await call("POST", f"{base}:archive", {})  # Other tests find the catalogue as it was.


async def test_imports_that_are_no_courses_are_told_so(http: httpx.AsyncClient, people: People) -> None:
    http.headers.update(await people.educator())
    headers = {"content-type": "application/json"}
    deep = '{"document":' + '{"a":' * 5000 + "1" + "}" * 5001
    for content in ("", "{", "[]", '{"document":5}', '{"document":{"title":{}}}', '{"document":{}}', "\0", deep):
        refused = await http.post("/v1/courses:import", content=content, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (400, 3), (content[:50], refused.text[:200])
    huge = '{"document":{"title":"T","description":"' + "x" * 5_000_000 + '"}}'
    refused = await http.post("/v1/courses:import", content=huge, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, 8)
