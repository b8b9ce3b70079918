"""Catalogue operations: lists of courses, and search."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from services.education.courses.operations import WRITE
from services.shared.errors import TokenMissing
from services.shared.money import check_currency
from services.shared.pagination import Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.catalogue.model import FoundCourse
    from services.education.catalogue.store import CatalogueStore
    from services.education.courses.model import Course, CourseFilter, CourseOrder
    from services.education.courses.store import CourseStore
    from services.shared.cache import CachedReads
    from services.shared.idempotency import Message
    from services.shared.pagination import PageRequest, PageTokens
    from services.shared.principal import Principal

Response = TypeVar("Response", bound="Message")
Asked: TypeAlias = "tuple[str | int | None, ...]"
"""All that names an answer."""


class CatalogueOperations:
    """Lists and searches published courses.

    Pages that everyone is shown alike are answered from memory, encoded. Whoever may write courses reads the database,
    and so sees every change at once; all others see it after a second at most.
    """

    def __init__(self, *, reads: CachedReads, store: CatalogueStore, courses: CourseStore, pages: PageTokens) -> None:
        self._reads = reads
        self._store = store
        self._courses = courses
        self._pages = pages

    async def list_courses(
        self,
        *,
        principal: Principal,
        page_size: int,
        page_token: str,
        wanted: CourseFilter,
        order: CourseOrder,
        mine: bool,
        encode: Callable[[Page[Course]], Response],
    ) -> Response:
        """Return a page of published courses, or of the caller's own in every state, newest first.

        Raises TokenMissing if the caller's own courses or enrolments are asked for and nobody is signed in,
        CurrencyUnknown, PageTokenInvalid.
        """
        if mine:
            return await self._own_page(principal, page_size, page_token, encode)

        asked = ("ListCourses", order, *wanted.values)
        request = self._request(principal, page_size, page_token, wanted, asked)

        async def load(connection: AsyncConnection) -> Page[Course]:
            found = await self._store.list_courses(connection, request, wanted, order, user_id=principal.user_id)
            return _page(request, found)

        return await self._answer(principal, wanted, _key(asked, request), load, encode)

    async def search_courses(
        self,
        *,
        principal: Principal,
        page_size: int,
        page_token: str,
        query: str,
        wanted: CourseFilter,
        encode: Callable[[Page[Course]], Response],
    ) -> Response:
        """Return a page of the published courses that match a query, best first. Raises what `list_courses` does."""
        asked = ("SearchCourses", query, *wanted.values)
        request = self._request(principal, page_size, page_token, wanted, asked)

        async def load(connection: AsyncConnection) -> Page[Course]:
            found = await self._store.list_matches(connection, request, query, wanted, user_id=principal.user_id)
            return _page(request, found)

        return await self._answer(principal, wanted, _key(asked, request), load, encode)

    async def _own_page(
        self, principal: Principal, page_size: int, page_token: str, encode: Callable[[Page[Course]], Response]
    ) -> Response:
        if not principal.signed_in:
            raise TokenMissing
        educator_id = principal.user_id
        bound_to = {"method": "ListCourses", "educator": educator_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)

        async def load(connection: AsyncConnection) -> Page[Course]:
            found = await self._courses.list_courses(connection, request, educator_id)
            return request.page(found, lambda course: [course.id])

        return await self._reads.read(load, encode)

    def _request(
        self, principal: Principal, page_size: int, page_token: str, wanted: CourseFilter, asked: Asked
    ) -> PageRequest:
        """Return the page that is asked for, after checking what the contract cannot."""
        if wanted.personal and not principal.signed_in:
            raise TokenMissing
        if wanted.currency:
            check_currency(wanted.currency)
        bound_to = {"asked": asked, "user": principal.user_id if wanted.personal else None}
        return self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)

    async def _answer(
        self,
        principal: Principal,
        wanted: CourseFilter,
        key: Asked,
        load: Callable[[AsyncConnection], Awaitable[Page[Course]]],
        encode: Callable[[Page[Course]], Response],
    ) -> Response:
        if wanted.personal or principal.may(WRITE):
            return await self._reads.read(load, encode)
        await self._reads.refresh()
        return await self._reads.answer(key, load, encode)


def _key(asked: Asked, request: PageRequest) -> Asked:
    return (*asked, request.size, *(request.cursor or ()))


def _page(request: PageRequest, found: Sequence[FoundCourse]) -> Page[Course]:
    page = request.page(found, lambda one: one.place)
    return Page([one.course for one in page.items], page.next_page_token)
