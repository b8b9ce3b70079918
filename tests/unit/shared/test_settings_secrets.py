"""Secrets as files: how containers give them to the services."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from services.shared.settings import ServiceSettings, SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

SECRET = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AZORA_LISTEN", "unix:/x")
    monkeypatch.setenv("AZORA_SECRETS_DIR", str(tmp_path))
    (tmp_path / "azora_database_url").write_text("postgresql://from-file\n")
    (tmp_path / "azora_secret_key").write_text(f"{SECRET}\n")
    return tmp_path


@pytest.mark.usefixtures("secrets")
def test_what_the_environment_lacks_is_read_from_files() -> None:
    settings = load(ServiceSettings)
    assert settings.database_url.get_secret_value() == "postgresql://from-file"
    assert settings.secret_key.get_secret_value() == SECRET


@pytest.mark.usefixtures("secrets")
def test_the_environment_goes_before_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", "postgresql://from-environment")
    assert load(ServiceSettings).database_url.get_secret_value() == "postgresql://from-environment"


def test_a_bad_secret_in_a_file_is_named_and_not_shown(secrets: Path) -> None:
    (secrets / "azora_secret_key").write_text("hunter2")
    with pytest.raises(SettingsError) as caught:
        load(ServiceSettings)
    assert "AZORA_SECRET_KEY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZORA_SECRETS_DIR", str(secrets / "missing"))
    with pytest.raises(SettingsError, match="AZORA_SECRETS_DIR: directory not found"):
        load(ServiceSettings)


def test_without_the_variable_no_file_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZORA_SECRETS_DIR", raising=False)
    monkeypatch.setenv("AZORA_LISTEN", "unix:/x")
    with pytest.raises(SettingsError, match="AZORA_DATABASE_URL"):
        load(ServiceSettings)
