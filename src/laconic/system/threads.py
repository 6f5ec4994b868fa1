"""How many threads compute, and how much other work the machine has.

1. `settle` sets the number of threads before torch is loaded, which reads it once: one for each core that this process may use,
   by its affinity and its control group, unless OMP_NUM_THREADS says otherwise.
2. `read_ticks` reads in /proc/stat how long the cores have worked, so that two readings tell how many of them other processes
   keep busy. What is decided by that is in `models/waiting.py`.
"""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
STAT = Path("/proc/stat")


def settle() -> None:
    """Set how many threads torch starts with; it must be called before torch is loaded."""
    os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))


def available_cores() -> int:
    """Cores this process may use, at least 1."""
    cores, quota = len(allowed_cores()), _quota(CPU_MAX)
    return cores if quota == math.inf else max(1, min(cores, math.ceil(quota)))


def allowed_cores() -> set[int]:
    """The numbers of the cores on which this process may run."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return set(os.sched_getaffinity(0)) if has_affinity else set(range(os.cpu_count() or 1))


def _quota(file: Path) -> float:
    """The number of cores that a control group grants: 2 for "200000 100000"; no limit for "max 100000" or without the file."""
    try:
        granted, period = file.read_text().split()
        return int(granted) / int(period)
    except (OSError, ValueError):
        return math.inf


# --- the load of the machine -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ticks:
    """Processor time since the start, in seconds, on the cores that this process may use: of all that runs there, and of this
    process with its children that have ended; and the time of day."""

    busy: float
    own: float
    clock: float

    def others_since(self, earlier: "Ticks") -> float:
        """How many cores other processes have kept busy since `earlier`."""
        others = (self.busy - earlier.busy) - (self.own - earlier.own)
        return max(0.0, others / max(1e-9, self.clock - earlier.clock))


def read_ticks() -> Ticks | None:
    """The processor times of now; None on systems without /proc/stat.

    Its lines are those of all cores together and then of each: name user nice system idle iowait irq softirq steal guest ...
    """
    names = {f"cpu{number}" for number in allowed_cores()}
    try:
        lines = [line.split() for line in STAT.read_text().splitlines()]
    except OSError:
        return None
    cores = [[int(word) for word in line[1:9]] for line in lines if line and line[0] in names]
    ticks = sum(sum(fields) - fields[3] - fields[4] for fields in cores)
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return Ticks(busy=ticks / os.sysconf("SC_CLK_TCK"), own=own, clock=time.monotonic())
