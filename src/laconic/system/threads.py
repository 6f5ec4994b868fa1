"""How many threads compute, and how they wait for one another: settled before torch is loaded, since it asks once.

1. Threads: the cores this process may use, by its affinity and its control group, where OMP_NUM_THREADS does not say otherwise.
2. Waiting: threads that share an operation meet after each one. On idle cores they do best to spin there. Where other work
   holds a core, a spinning thread waits for one that is not running, and everything slows down many times over: then they
   are told to sleep (OMP_WAIT_POLICY=PASSIVE), unless the variable is set already. Measured in LOG.md, 2026-11-20.

On systems without /proc nothing is known of other work, and threads spin.
"""

import math
import os
import time
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
STAT = Path("/proc/stat")
LOOK_SECONDS = 0.1
BUSY_CORES = 0.5  # so much other work makes threads sleep


def settle() -> str | None:
    """Set the variables that torch's threads read; says in a line what was found where other work runs."""
    os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return None
    busy = busy_cores()
    if busy < BUSY_CORES:
        return None
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return (
        f"other work keeps {busy:.1f} cores busy: threads sleep while they wait, about half the speed of idle cores "
        "(OMP_WAIT_POLICY=ACTIVE spins instead)"
    )


def available_cores() -> int:
    """Cores this process may use, at least 1."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = _quota(CPU_MAX)
    return cores if quota == math.inf else max(1, min(cores, math.ceil(quota)))


def _quota(file: Path) -> float:
    """Cores that a control group grants: "200000 100000" is 2 of them, "max 100000" and no file are no limit."""
    try:
        granted, period = file.read_text().split()
        return int(granted) / int(period)
    except (OSError, ValueError):
        return math.inf


def busy_cores(seconds: float = LOOK_SECONDS) -> float:
    """Cores' worth of work that anyone does during `seconds` of this process doing nothing; 0 where the system does not say."""
    if not STAT.exists():
        return 0.0
    before = _ticks()
    time.sleep(seconds)
    working, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return working / total * (os.cpu_count() or 1) if total else 0.0


def _ticks() -> tuple[int, int]:
    """(ticks at work, all ticks) of all cores since the system started: user nice system idle iowait irq softirq steal."""
    fields = [int(word) for word in STAT.read_text().split("\n", maxsplit=1)[0].split()[1:9]]
    total = sum(fields)
    return total - fields[3] - fields[4], total
