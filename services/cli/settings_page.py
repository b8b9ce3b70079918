"""Writes docs/settings.md from the settings classes: `python -m services.cli.settings_page [folder]`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import PydanticUndefined

from services.compiler.contract import load_contract
from services.compiler.envoy.settings import EnvoySettings
from services.gateway.settings import GatewaySettings
from services.local.settings import SystemSettings
from services.shared.settings import MeshSettings, ServerSettings, ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

HEAD = """# Settings

Compiled from the settings classes by `make generate`. All are environment variables; with `AZORA_SECRETS_DIR`, what the
environment lacks is read from files of that folder, by the same names in lower case.
"""


def main() -> None:
    """Write the page below the folder named by the first argument, or the checkout."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    (root / "docs/settings.md").write_text("\n".join((HEAD, *_sections())))


def sections() -> Iterator[tuple[str, type[BaseSettings]]]:
    """Give the title and the settings class of every section."""
    names = load_contract().owners
    titles = [name.capitalize() for name in names]
    yield "The local system (`azora up`)", SystemSettings
    yield "Every process", ServerSettings
    yield f"{', '.join(titles)} and the gateway", MeshSettings
    yield f"{', '.join(titles[:-1])} and {titles[-1]}", ServiceSettings
    for name, title in zip(names, titles, strict=True):
        yield title, getattr(importlib.import_module(f"services.{name}.settings"), f"{title}Settings")
    yield "Gateway", GatewaySettings
    yield "Envoy in containers (`make compose-envoy`)", EnvoySettings


def _sections() -> Iterator[str]:
    told: set[str] = set()
    for title, kind in sections():
        yield f"## {title}\n\n| variable | default | |\n| --- | --- | --- |"
        for name, field in kind.model_fields.items():
            if name not in told or kind is SystemSettings:
                yield f"| `AZORA_{name.upper()}` | {_default(field)} | {' '.join((field.description or '').split())} |"
        if kind is not SystemSettings:
            told |= set(kind.model_fields)
        yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{field.default}`" if field.default not in (None, "", PydanticUndefined) else "-"


if __name__ == "__main__":
    main()
