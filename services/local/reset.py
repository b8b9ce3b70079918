"""`azora reset`: everything of the local system removed, and nothing else."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from services.local import doctor, postgres
from services.local.layout import find_layout, lock_path, register_path
from services.local.orphans import run_lock, stop_orphans
from services.local.settings import runtime_candidates

if TYPE_CHECKING:
    from services.local.settings import SystemSettings


def reset(settings: SystemSettings) -> None:
    """Wipe the state of the system, which must not run. Raises AlreadyRunning, HomeOfAnother.

    Only what we made goes, so that a home set to a folder with other things in it loses none of them.
    """
    doctor.check_home(settings.home)
    if not settings.home.exists():
        return
    with run_lock(lock_path(settings.home)):
        stop_orphans(register_path(settings.home))
        postgres.wipe(settings.home)
        layout = find_layout(settings.home, runtime_candidates())
        for path in (layout.runtime, *layout.kept):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    with suppress(OSError):  # Something that is not ours is in it.
        settings.home.rmdir()
