"""Access tokens, and the metadata that they are verified with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed access token and its lifetime."""

    text: str
    expires_in_seconds: int


@dataclass(frozen=True, slots=True)
class Discovery:
    """Provider metadata: issuer, which is the base of all endpoints, signing algorithms, claims, scopes of API keys."""

    issuer: str
    algorithms: tuple[str, ...]
    claims: tuple[str, ...]
    scopes: tuple[str, ...]
