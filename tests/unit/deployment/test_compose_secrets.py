"""The secrets of the containers: made once, private on the host, readable within."""

from __future__ import annotations

import base64
import stat
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from services.deployment.compose_secrets import main, make_secrets
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    new = make_secrets(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"redis_url", "payment_secret_key"} <= set(new)
    assert make_secrets(folder) == []
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_missing_is_made_again(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    (tmp_path / "auth_secret_key").unlink()
    assert make_secrets(tmp_path) == ["auth_secret_key"]


def test_the_folder_is_private(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_services_differ_in_keys_roles_and_passwords(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    urls = [urlsplit((tmp_path / f"{name}_database_url").read_text()) for name in ("auth", "auth_migration", "payment")]
    assert [url.username for url in urls] == ["auth_app", "auth_owner", "payment_app"]
    assert len({url.password for url in urls}) == 3
    keys = {(tmp_path / f"{name}_secret_key").read_text() for name in SERVICES}
    assert {len(base64.b64decode(key)) for key in keys} == {32}
    assert len(keys) == 3


def test_the_counters_password_is_the_servers(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    password = urlsplit((tmp_path / "redis_url").read_text()).password
    assert (tmp_path / "valkey.conf").read_text() == f"requirepass {password}\n"


def test_it_says_what_is_new_and_what_it_wants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path)])
    assert "auth_secret_key" in capsys.readouterr().out
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path}: nothing missing\n"
    with pytest.raises(SystemExit, match="usage"):
        main([])
