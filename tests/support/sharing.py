"""One database and one server for all tests of a file, where these do not meet: starting them costs more than a test.

Such a file says `pytestmark = pytest.mark.shared`. Its tests make what they need, and count nothing that others make;
one that does is marked `own`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pytest

Value = TypeVar("Value")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "shared: the tests of this file share a database and a server.")
    config.addinivalue_line("markers", "own: this test of such a file has a database and a server of its own.")


def shared_or_own(request: pytest.FixtureRequest, name: str, kind: type[Value]) -> Value:
    """Return the fixture `shared_<name>` for a test that shares, else `own_<name>`; it is of a kind."""
    shared = request.node.get_closest_marker("shared") and not request.node.get_closest_marker("own")
    found = request.getfixturevalue(f"{'shared' if shared else 'own'}_{name}")
    assert isinstance(found, kind)
    return found
