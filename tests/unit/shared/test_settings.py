"""Settings: production is strict, and complaints name variables, never values."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from services.shared.settings import Environment, ServerSettings, ServiceSettings, SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

SECRET = base64.b64encode(b"s" * 32).decode()


def settings(**changes: Any) -> ServiceSettings:
    return ServiceSettings(**{"listen": "unix:/x", "database_url": "postgresql://", "secret_key": SECRET} | changes)


def test_a_missing_or_weak_setting_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZORA_LISTEN", "unix:/x")
    monkeypatch.setenv("AZORA_SECRET_KEY", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load(ServiceSettings)
    assert "AZORA_DATABASE_URL" in str(caught.value)
    assert "AZORA_SECRET_KEY: Value error, must be at least 32 random bytes" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"listen": "0.0.0.0:50051"}, "AZORA_LISTEN is a TCP address"),
        ({"rate_limit_scale": 2}, "AZORA_RATE_LIMIT_SCALE must be 1 in production"),
        ({"reflection": True}, "AZORA_REFLECTION must not be enabled in production"),
    ],
)
def test_insecure_choices_do_not_start_in_production(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        settings(**changes)


def test_production_is_what_is_assumed() -> None:
    assert settings().production
    assert not settings().serves_reflection
    assert settings(env="development").serves_reflection
    assert not settings(env="development", reflection=False).serves_reflection


def test_tcp_listens_with_mutual_tls(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("tls_certificate", "tls_key", "tls_authority")}
    made = ServerSettings(listen="0.0.0.0:50051", env=Environment.PRODUCTION, **files)  # type: ignore[arg-type]
    assert made.listen == "0.0.0.0:50051"


def test_derived_keys_differ_by_purpose_and_stay_the_same() -> None:
    one, other = settings().derive_key("page-tokens"), settings().derive_key("signing-keys")
    assert one != other
    assert one == settings().derive_key("page-tokens")
    assert len(one) == 32


def test_a_secret_is_not_printed() -> None:
    assert SECRET not in repr(settings())
