"""The secrets of docker-compose.yml: `python -m services.deployment.compose_secrets DIR` makes those that are missing.

What is there stays, so it may run again at any time. The files of a service hold its settings (auth_database_url is
Auth's AZORA_DATABASE_URL).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.contract import load_contract
from services.deployment.database_roles import app_role, owner_role
from services.deployment.files import write_private
from services.deployment.secret_keys import new_password, new_secret_key

if TYPE_CHECKING:
    from collections.abc import Sequence

READABLE = 0o644


def make_secrets(folder: Path) -> list[str]:
    """Put all secrets into `folder`, which is for its owner alone, and return the names of the new files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    new = []
    for name, content in _fresh().items():
        if not (folder / name).exists():
            write_private(folder / name, content.encode())
            new.append(name)
    _let_containers_read(folder)
    return new


def _fresh() -> dict[str, str]:
    """Return new values of all secrets."""
    counters = new_password()
    made = {
        "postgres_password": new_password(),
        "redis_url": f"redis://:{counters}@valkey:6379/0",
        "valkey.conf": f"requirepass {counters}\n",
    }
    for service in load_contract().owners:
        made |= {
            f"{service}_secret_key": new_secret_key(),
            f"{service}_database_url": _database_url(service, app_role(service)),
            f"{service}_migration_database_url": _database_url(service, owner_role(service)),
        }
    return made


def _database_url(database: str, role: str) -> str:
    return f"postgresql+asyncpg://{role}:{new_password()}@postgres:5432/{database}"


def _let_containers_read(folder: Path) -> None:
    """Make the files readable.

    Compose binds them into containers as they are, and those run as users that the host does not know. On the host
    the folder keeps everyone else out.
    """
    for path in folder.iterdir():
        path.chmod(READABLE)


def main(arguments: Sequence[str]) -> None:
    """Make the secrets in the folder that the one argument names."""
    if len(arguments) != 1:
        sys.exit("usage: python -m services.deployment.compose_secrets FOLDER")
    folder = Path(arguments[0])
    new = make_secrets(folder)
    sys.stdout.write(f"{folder}: {', '.join(new) if new else 'nothing missing'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
