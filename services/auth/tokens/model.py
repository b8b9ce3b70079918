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
    """Provider metadata: issuer, location of the keys, signing algorithms."""

    issuer: str
    jwks_uri: str
    algorithms: tuple[str, ...]
