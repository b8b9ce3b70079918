"""Compiles Envoy's configuration for containers, with the settings of the environment.

`python -m services.compiler.envoy FILE` writes the bootstrap of compose, whose other files are committed; with
`--profile kubernetes` it writes everything into a folder, as Envoy's pod starts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.envoy.bootstrap import write_bootstrap
from services.compiler.envoy.discovery import discovery_files
from services.compiler.envoy.profiles import compose, kubernetes
from services.compiler.envoy.settings import EnvoySettings
from services.shared.descriptors import DESCRIPTORS
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.compiler.envoy.profiles import Profile


def main(arguments: Sequence[str]) -> None:
    """Write the bootstrap to the file, or all of a pod's configuration into the folder, that the argument names."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--profile", choices=("compose", "kubernetes"), default="compose")
    options = parser.parse_args(arguments)
    try:
        settings = load(EnvoySettings)
    except SettingsError as error:
        sys.exit(f"invalid settings: {error}")
    if options.profile == "compose":
        write_bootstrap(compose(settings), options.path)
    else:
        _write_all(kubernetes(settings), options.path)


def _write_all(profile: Profile, folder: Path) -> None:
    """Write the bootstrap and the files that it names into a folder."""
    (folder / "discovery").mkdir(exist_ok=True)
    for name, text in discovery_files(profile).items():
        (folder / "discovery" / name).write_text(text)
    shutil.copyfile(str(DESCRIPTORS), folder / Path(profile.descriptors).name)
    write_bootstrap(profile, folder / "envoy.json")


if __name__ == "__main__":
    main(sys.argv[1:])
