"""Page tokens: good only as they were given, for what they were given for."""

from __future__ import annotations

import base64

import pytest

from services.shared.errors import PageTokenInvalid
from services.shared.pagination import PageRequest, PageTokens

TOKENS = PageTokens(b"k" * 32)
BOUND = {"method": "ListCourses", "user": "1"}


def _first(tokens: PageTokens = TOKENS) -> PageRequest:
    return tokens.request(page_size=2, page_token="", bound_to=BOUND)


def test_a_token_brings_its_cursor_back_and_the_size_may_change() -> None:
    token = _first().token(["2026-01-01", 7])
    request = TOKENS.request(page_size=3, page_token=token, bound_to=BOUND)
    assert (request.size, request.cursor) == (3, ["2026-01-01", 7])


def test_a_page_has_a_token_only_when_more_was_found() -> None:
    request = _first()
    assert request.limit == 3
    page = request.page([5, 4, 3], lambda item: [item])
    assert page.items == [5, 4]
    following = TOKENS.request(page_size=2, page_token=page.next_page_token, bound_to=BOUND)
    assert following.cursor == [4]
    assert following.page([3], lambda item: [item]).next_page_token == ""


@pytest.mark.parametrize(("asked", "given"), [(0, 20), (1, 1), (100, 100), (101, 100)])
def test_sizes_are_coerced(asked: int, given: int) -> None:
    assert TOKENS.request(page_size=asked, page_token="", bound_to=BOUND).size == given


def test_a_token_of_someone_else_or_changed_or_invented_is_refused() -> None:
    token = _first().token([1])
    changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)[:-1] + b"2]").decode()
    for stolen, bound in (
        (token, BOUND | {"user": "2"}),
        (changed, BOUND),
        ("nonsense", BOUND),
        ("é", BOUND),
        (_first(PageTokens(b"x" * 32)).token([1]), BOUND),
    ):
        with pytest.raises(PageTokenInvalid):
            TOKENS.request(page_size=0, page_token=stolen, bound_to=bound)


@pytest.mark.parametrize("foreign", ["!", " ", "\n", "*", "=", "==="])
def test_a_token_with_foreign_characters_within_is_refused(foreign: str) -> None:
    token = _first().token([1])
    for changed in (foreign + token, token[:5] + foreign + token[5:], token + foreign):
        with pytest.raises(PageTokenInvalid):
            TOKENS.request(page_size=0, page_token=changed, bound_to=BOUND)
