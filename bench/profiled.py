"""Runs a service that is profiled from SIGUSR1 to its end: python -m bench.profiled MODULE FILE.

Started with the service, cProfile would tell of imports above all.
"""

from __future__ import annotations

import cProfile
import runpy
import signal
import sys

if __name__ == "__main__":
    module, file = sys.argv[1:]
    profiler = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    sys.argv = [module]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        profiler.disable()
        profiler.dump_stats(file)
