"""Compiles compose's Envoy bootstrap with the settings of the environment: `python -m services.compiler.envoy FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.envoy.bootstrap import write_bootstrap
from services.compiler.envoy.profiles import compose
from services.compiler.envoy.settings import EnvoySettings
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Write the bootstrap to the file that the one argument names."""
    if len(arguments) != 1:
        sys.exit("usage: python -m services.compiler.envoy FILE")
    try:
        settings = load(EnvoySettings)
    except SettingsError as error:
        sys.exit(f"invalid settings: {error}")
    write_bootstrap(compose(settings), Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
