"""Page tokens: good only as they were given, for what they were given for."""

from __future__ import annotations

import base64

import pytest

from services.shared.errors import PageTokenInvalid
from services.shared.pagination import PageTokens

TOKENS = PageTokens(b"k" * 32)
BOUND = {"method": "ListCourses", "principal": "user:1"}


def test_a_token_brings_its_cursor_back_and_the_size_may_change() -> None:
    token = TOKENS.write(["2026-01-01", 7], bound_to=BOUND)
    page = TOKENS.read(page_size=3, page_token=token, bound_to=BOUND)
    assert (page.size, page.cursor) == (3, ["2026-01-01", 7])


@pytest.mark.parametrize(("asked", "given"), [(0, 20), (1, 1), (100, 100), (101, 100)])
def test_sizes_are_coerced(asked: int, given: int) -> None:
    assert TOKENS.read(page_size=asked, page_token="", bound_to=BOUND).size == given


def test_a_token_of_someone_else_or_changed_or_invented_is_refused() -> None:
    token = TOKENS.write([1], bound_to=BOUND)
    changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)[:-1] + b"2]").decode()
    for stolen, bound in (
        (token, BOUND | {"principal": "user:2"}),
        (changed, BOUND),
        ("nonsense", BOUND),
        ("é", BOUND),
        (PageTokens(b"x" * 32).write([1], bound_to=BOUND), BOUND),
    ):
        with pytest.raises(PageTokenInvalid):
            TOKENS.read(page_size=0, page_token=stolen, bound_to=bound)
