"""The databases that commands of operators work on: that of the environment, or those of the running local system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.local.errors import NotRunning
from services.local.layout import lock_path
from services.local.orphans import is_running
from services.local.settings import read_settings
from services.local.up import describe
from services.shared.settings import load

if TYPE_CHECKING:
    from services.local.system import System


class DatabaseSettings(BaseSettings):
    """The database of a service, where the command runs in its environment."""

    model_config = SettingsConfigDict(env_prefix="AZORA_", frozen=True, extra="ignore")

    database_url: SecretStr | None = None


def running_system() -> System:
    """Return the local system, which runs. Raises NotRunning."""
    settings = read_settings()
    if not is_running(lock_path(settings.home)):
        raise NotRunning(home=settings.home)
    return describe(settings)


def database_urls(*services: str) -> list[str]:
    """Return the database of the environment, or those of these services, or of all, in the running local system.

    Raises NotRunning, SettingsError.
    """
    own = load(DatabaseSettings).database_url
    if own is not None:
        return [own.get_secret_value()]
    system = running_system()
    return [system.cluster.url(service, f"{service}_app") for service in services or system.names]
