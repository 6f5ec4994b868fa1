"""How many threads compute, and how they wait for one another. Both are set before torch is loaded, since it reads them once.

1. Number: one thread for each core that this process may use, by its affinity and its control group, unless OMP_NUM_THREADS
   says otherwise.
2. Waiting: threads that share an operation wait for one another after each one. On idle cores they do best to spin while they
   wait. Where other work keeps a core busy, spinning threads wait for one that is not running, and everything slows down many
   times over: then they are set to sleep (OMP_WAIT_POLICY=PASSIVE), unless the variable is set already. LOG.md, 2026-11-20,
   has the measurement.

On systems without /proc, other work cannot be seen, and threads spin.
"""

import math
import os
import time
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
STAT = Path("/proc/stat")
LOOK_SECONDS = 0.1
BUSY_CORES = 0.5  # with this much other work or more, threads sleep


def settle() -> str | None:
    """Set the variables that torch's threads read. Returns a line for the user where other work makes the threads sleep."""
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
    """The number of cores that a control group grants: 2 for "200000 100000"; no limit for "max 100000" or without the file."""
    try:
        granted, period = file.read_text().split()
        return int(granted) / int(period)
    except (OSError, ValueError):
        return math.inf


def busy_cores(seconds: float = LOOK_SECONDS) -> float:
    """How many cores other processes keep busy, measured over `seconds` in which this one sleeps; 0 on systems without /proc."""
    if not STAT.exists():
        return 0.0
    before = _ticks()
    time.sleep(seconds)
    working, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return working / total * (os.cpu_count() or 1) if total else 0.0


def _ticks() -> tuple[int, int]:
    """(busy ticks, all ticks) of all cores since the start; the fields are user nice system idle iowait irq softirq steal."""
    fields = [int(word) for word in STAT.read_text().split("\n", maxsplit=1)[0].split()[1:9]]
    total = sum(fields)
    return total - fields[3] - fields[4], total
