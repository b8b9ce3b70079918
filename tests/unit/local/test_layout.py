"""Where things lie, and whom they belong to."""

from __future__ import annotations

import base64
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.compiler.contract import GATEWAY
from services.compiler.envoy import socket_path
from services.compiler.envoy.profiles import GATEWAY_HTTP
from services.deployment.files import last_lines, write_private
from services.deployment.secret_keys import secret_key
from services.local.account import Account, caller
from services.local.errors import FolderOfAnother, HomeRefused, NoShortFolder
from services.local.layout import find_socket_base, make_home, make_layout, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def base() -> Iterator[Path]:
    """Give a folder as short as those where sockets live; pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as folder:
        yield Path(folder)


def test_a_deep_home_still_has_short_sockets(tmp_path: Path, base: Path) -> None:
    home = tmp_path / ("deep" * 30) / ("deeper" * 30)
    make_home(home)
    layout = make_layout(home, [base])
    assert len(os.fsencode(layout.socket("gateway-http-15"))) <= 107
    assert stat.S_IMODE(layout.runtime.stat().st_mode) == 0o700
    assert layout == make_layout(home, [base])


def test_sockets_are_where_envoy_looks_for_them(tmp_path: Path, base: Path) -> None:
    layout = make_layout(tmp_path, [base])
    for name, replica in ((GATEWAY_HTTP, 0), ("payment", 2)):
        assert layout.socket(name, replica) == socket_path(layout.runtime, name, replica)
    assert f"{GATEWAY}-http" == GATEWAY_HTTP


def test_two_homes_have_two_folders_of_sockets(tmp_path: Path, base: Path) -> None:
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        make_home(home)
    assert len({make_layout(home, [base]).runtime for home in homes}) == 2


def test_a_base_that_is_too_long_or_missing_is_passed_over(tmp_path: Path, base: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    assert find_socket_base(caller(), [long, base / "none", base]) == base
    with pytest.raises(NoShortFolder, match="TMPDIR"):
        find_socket_base(caller(), [long])


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderOfAnother):
        private_folder(tmp_path / "folder", caller())


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o755)
    with pytest.raises(FolderOfAnother, match="is not a folder that only"):
        private_folder(tmp_path / "folder", caller())


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    another = Account("another", os.geteuid() + 1, os.getegid())
    (tmp_path / "folder").mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path / "folder", 12345, 12345)
        with pytest.raises(FolderOfAnother, match="another"):
            private_folder(tmp_path / "folder", another)
    else:
        with pytest.raises(PermissionError):  # Only root can have made a folder for someone else.
            private_folder(tmp_path / "folder", another)


def test_a_home_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeRefused, match="AZORA_HOME"):
        make_home(tmp_path / "file" / "home")


def test_a_secret_key_is_made_once_and_is_long(tmp_path: Path) -> None:
    first = secret_key(tmp_path, "auth")
    assert len(base64.b64decode(first)) == 32
    assert secret_key(tmp_path, "auth") == first
    assert secret_key(tmp_path, "payment") != first
    assert stat.S_IMODE((tmp_path / "auth.key").stat().st_mode) == 0o600


def test_a_private_file_replaces_what_a_crash_left(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_text("half")
    write_private(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert last_lines(tmp_path / "log", 2) == "line 9998\nline 9999"
    assert last_lines(tmp_path / "log", 2, without=["9998", "9999"]) == "line 9996\nline 9997"
    assert last_lines(tmp_path / "none") == ""
