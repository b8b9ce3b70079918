"""Audit events and verification of several services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.shared.audit.model import StoredEvent, Verified
    from services.shared.pagination import Page


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event, and the service that recorded it."""

    source: str
    stored: StoredEvent


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of the events of all services that answered."""

    page: Page[ListedEvent]
    unreachable: Sequence[str]
    """Names of the services that did not answer."""


@dataclass(frozen=True, slots=True)
class VerifiedChains:
    """A part of the logs of all services that answered."""

    chains: Mapping[str, Verified]
    """By service."""
    unreachable: Sequence[str]
    """Names of the services that did not answer."""
    next_page_token: str
