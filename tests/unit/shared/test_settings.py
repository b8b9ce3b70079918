"""Settings: production is strict, and complaints name variables, never values."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from services.shared.policy import tiers
from services.shared.rate_limits import effective_tiers
from services.shared.settings import Environment, ServerSettings, ServiceSettings, SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

SECRET = base64.b64encode(bytes(range(32))).decode()
WEAK = base64.b64encode(b"s" * 32).decode()


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
        ({"public_url": "http://learn.example.com"}, "AZORA_PUBLIC_URL must be an https URL in production"),
        ({"rate_limit_scale": 2}, "AZORA_RATE_LIMIT_SCALE must be 1 in production"),
        ({"reflection": True}, "AZORA_REFLECTION must not be enabled in production"),
        ({"redis_url": "redis://:password@valkey:6379/0"}, "AZORA_REDIS_URL must not contain a well-known password"),
        ({"redis_url": "redis://valkey:6379/0?password=secret"}, "AZORA_REDIS_URL must not contain a well-known"),
        (
            {"database_url": "postgresql+asyncpg://postgres/auth?user=auth_app&password=auth_app"},
            "AZORA_DATABASE_URL must not contain a well-known password",
        ),
        ({"secret_key": WEAK}, "AZORA_SECRET_KEY must be random in production"),
        ({"previous_secret_keys": f"{SECRET},{WEAK}"}, "AZORA_PREVIOUS_SECRET_KEYS must be random in production"),
        ({"database_url": "postgresql+asyncpg://auth_app:auth_app@db/auth"}, "AZORA_DATABASE_URL must not contain a"),
        ({"migration_database_url": "postgresql+asyncpg://o:Postgres@db/auth"}, "AZORA_MIGRATION_DATABASE_URL must"),
    ],
)
def test_insecure_choices_do_not_start_in_production(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        settings(**changes)
    assert WEAK not in str(caught.value)
    if "TCP" not in complaint:
        assert settings(env="development", **changes)


@pytest.mark.parametrize(
    "url", ["https://learn.example.com", "https://learn.example.com:8443", "http://localhost:9090"]
)
def test_a_public_url_is_kept_without_its_last_slash(url: str) -> None:
    assert settings(public_url=url).public_url == settings(public_url=f"{url}/").public_url == url


@pytest.mark.parametrize(
    "url", ["learn.example.com", "https://learn.example.com/api", "https://", "https://x y", "//x"]
)
def test_a_public_url_is_an_origin(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        settings(public_url=url)


def test_production_says_all_that_it_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"listen": "unix:/x", "database_url": "postgresql://", "secret_key": WEAK}
    for name, value in (chosen | {"reflection": "true", "rate_limit_scale": "10"}).items():
        monkeypatch.setenv(f"AZORA_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        load(ServiceSettings)
    assert str(caught.value).removeprefix("settings: Value error, ").split("; ") == [
        "AZORA_RATE_LIMIT_SCALE must be 1 in production",
        "AZORA_REFLECTION must not be enabled in production",
        "AZORA_SECRET_KEY must be random in production: openssl rand -base64 32",
    ]


def test_passwords_that_nobody_guesses_are_taken() -> None:
    assert settings(
        database_url="postgresql+asyncpg://auth_app:nY4wq0@db/auth",
        migration_database_url="postgresql+asyncpg:///auth?host=/run/postgresql",
        redis_url="redis://:mAk2n%2F@valkey:6379/0",
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ("MONEY.per_user", "from 1 to 1000000"),
        ("MONEY.per_user=0", "from 1 to 1000000"),
        ("MONEY.per_user=-5", "from 1 to 1000000"),
        ("MONEY.per_user=1000001", "from 1 to 1000000"),
        ("MONEY.per_user=many", "from 1 to 1000000"),
        ("MONEY.per_address=5", "must name limits of the contract: PUBLIC.per_address, CREDENTIALS.per_address"),
        ("money.per_user=5", "must name limits of the contract"),
        ("MONEY.name=5", "must name limits of the contract"),
        ("60", "must name limits of the contract"),
    ],
)
def test_a_rate_limit_that_makes_no_sense_is_refused(changes: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        settings(rate_limits=changes)


def test_rate_limits_replace_those_of_the_contract_and_no_others() -> None:
    changed = effective_tiers(settings(rate_limits=" MONEY.per_user=120, CREDENTIALS.per_address=3,").rate_limits)
    assert changed["MONEY"].per_user == 120
    assert changed["CREDENTIALS"].per_address == 3
    assert {name: tier for name, tier in changed.items() if name in ("PUBLIC", "USER")}.items() <= tiers().items()
    assert effective_tiers("") == tiers()


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
