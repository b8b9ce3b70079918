"""Checks a password with bcrypt and does nothing else, in as many threads as it may use CPUs: what sign-in is held to.

`python -m bench.bare_bcrypt SECONDS` prints, as JSON, the seconds that each check took, all of them and of CPU.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from services.shared.cpus import available_cpus

COST = 12
PASSWORD = b"Student@2024!"


def main() -> None:
    """Check for as many seconds as the argument says."""
    digest, threads = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(COST)), available_cpus()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    end = begun + float(sys.argv[1])

    def check(_: int) -> list[float]:
        taken = []
        while (started := time.perf_counter()) < end:
            bcrypt.checkpw(PASSWORD, digest)
            taken.append(time.perf_counter() - started)
        return taken

    with ThreadPoolExecutor(threads) as pool:
        taken = [seconds for each in pool.map(check, range(threads)) for seconds in each]
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    json.dump({"latencies": taken, "elapsed": elapsed, "cpu": cpu}, sys.stdout)


if __name__ == "__main__":
    main()
