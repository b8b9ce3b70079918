"""How many CPUs this process may use, which in a container is less than the machine has."""

from __future__ import annotations

import os
from pathlib import Path

PROCESS = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def available_cpus(*, process: Path = PROCESS, control_groups: Path = CONTROL_GROUPS) -> int:
    """Return the CPUs of the process's affinity, or the whole ones of its control group's limit if that is less.

    The limit is the smallest `cpu.max` of the group and those above it (Linux cgroup v2); 1 at least.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        entries = process.read_text().splitlines()
    except OSError:
        return affinity  # Not Linux.
    path = next((entry.removeprefix("0::/") for entry in entries if entry.startswith("0::")), "")
    group = control_groups / path
    groups = [group, *(above for above in group.parents if above.is_relative_to(control_groups))]
    return max(1, min([affinity, *(int(limit) for limit in map(_limit, groups) if limit is not None)]))


def _limit(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None  # The root has no such file, and "max" is no limit.
