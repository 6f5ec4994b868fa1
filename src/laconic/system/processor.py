"""What the processor is called and which instructions it has, from /proc/cpuinfo; on systems without it, from Python alone. And
how much memory the machine has."""

import os
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
BFLOAT16_SETS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""The instruction sets that multiply bfloat16 numbers, of processors by Intel, AMD and Arm."""


def processor_name() -> str:
    """The processor's name as it states it itself."""
    return _field("model name") or platform.processor() or platform.machine()


def instruction_sets() -> frozenset[str]:
    """The names of the instruction sets it has, such as avx2; empty where the system does not say."""
    return frozenset((_field("flags") or _field("Features")).split())


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products in bfloat16; where the system does not say, it is taken to."""
    known = instruction_sets()
    return not known or bool(known & BFLOAT16_SETS)


def machine_memory() -> int:
    """The bytes of memory that this machine has, or that a control group grants of them."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    granted = MEMORY_MAX.read_text(encoding="utf-8").strip() if MEMORY_MAX.exists() else ""
    return min(installed, int(granted)) if granted.isdecimal() else installed


def _field(name: str) -> str:
    """The first value of that name, or nothing."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
