"""Writes docs/settings.md from the settings classes: `python -m services.cli.settings_page [folder]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import PydanticUndefined

from services.auth.settings import AuthSettings
from services.compiler.envoy.settings import EnvoySettings
from services.education.settings import EducationSettings
from services.gateway.settings import GatewaySettings
from services.local.settings import SystemSettings
from services.payment.settings import PaymentSettings
from services.shared.settings import ServerSettings, ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

SECTIONS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("The local system (`azora up`)", SystemSettings),
    ("Every process", ServerSettings),
    ("Auth, Education and Payment", ServiceSettings),
    ("Auth", AuthSettings),
    ("Education", EducationSettings),
    ("Payment", PaymentSettings),
    ("Gateway", GatewaySettings),
    ("Envoy in containers (`make compose-envoy`)", EnvoySettings),
)
HEAD = """# Settings

Compiled from the settings classes by `make generate`. All are environment variables; with `AZORA_SECRETS_DIR`, what the
environment lacks is read from files of that folder, by the same names in lower case.
"""


def main() -> None:
    """Write the page below the folder named by the first argument, or the checkout."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    (root / "docs/settings.md").write_text("\n".join((HEAD, *_sections())))


def _sections() -> Iterator[str]:
    told: set[str] = set()
    for title, kind in SECTIONS:
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
