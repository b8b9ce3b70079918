"""Conversion of exports to messages."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from google.api import httpbody_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def export_chunks(export: AsyncGenerator[bytes]) -> AsyncGenerator[httpbody_pb2.HttpBody]:
    """Yield the document of an export in parts."""
    async with aclosing(export):
        async for part in export:
            yield httpbody_pb2.HttpBody(content_type="application/json", data=part)
