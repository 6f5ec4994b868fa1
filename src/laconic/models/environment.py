"""What a process works with: the versions, the device and the threads, which a reader needs to repeat its results."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from laconic.models.products.product_path import product_path
from laconic.system.processor import processor_name

MACHINE = ("python", "platform", "packages", "device", "threads")
"""The keys of `describe_environment` that tell what another session of the same run may find otherwise."""
_PACKAGES = ("laconic", "torch", "transformers", "accelerate", "peft", "safetensors", "numpy", "scipy", "math-verify")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads and the path of matrix products, which a reader needs to repeat the run."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **describe_arithmetic(device),
        "command": " ".join(["laconic", *sys.argv[1:]]),
    }


def describe_arithmetic(device: torch.device | None) -> dict[str, Any]:
    """The part of it that decides the last bits of a result; None stands for the CPU."""
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device)
        if device is not None and device.type == "cuda"
        else f"{processor_name()} ({os.cpu_count()} cores)",
        "threads": torch.get_num_threads(),
        "products": product_path(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
