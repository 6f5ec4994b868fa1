"""The machine for which a run's time is predicted: a GPU that is named, or this one, whose products are measured.

1. A GPU that is named, or that this machine has and the table knows, has the figures of its data sheet.
2. A CPU is measured, in a fraction of a second: products with a map of the model's own size, with as many rows as a step of
   sampling has and as many as a micro-batch, on one thread and in its processor time, as `models/products/product_path.py` does
   it. Threads share the rows, so the rate is multiplied by their number. The fastest round counts, so that other work does not
   decide.
"""

import math
import time
from functools import cache

import torch

from laconic.config.policy import ShapeConfig
from laconic.config.recipe import Recipe
from laconic.doctor.cost_model import Machine, machine_of
from laconic.doctor.gpus import GPUS, find_gpu, name_of_device
from laconic.doctor.memory_needs import Shape, computes_in
from laconic.models.loading import named_device
from laconic.models.products.onednn import linear
from laconic.system.processor import processor_name

CPU_STEP_FACTOR, CPU_FACTOR = 4.0, 2.0
"""What is assumed of a CPU: how many times as long as its products a step of sampling takes, and prompts, scoring and updates.
docs/real_models.md has the measurements by which they were chosen."""
UPDATE_ROWS = 512
MOST_WEIGHTS = 2**24  # of the map that is measured: products with a larger one are as fast
REPEATS = 5


def find_machine(recipe: Recipe, shape: Shape, gpu: str | None) -> Machine | None:
    """The GPU that `gpu` names, else the recipe's own device; None if that is not here or nothing is known of it.

    Raises `InputError` for an unknown name.
    """
    device, dtype = named_device(recipe.policy.device), computes_in(recipe.policy, shape.config)
    if gpu is not None:
        return machine_of(gpu, find_gpu(gpu), is_bfloat16=dtype == torch.bfloat16)
    if device.type == "cpu":
        rows = max(min(p.sampler.batch_size, p.problems_per_step * p.group_size) for p in recipe.phases)
        return measured_machine(shape.config, rows, recipe.threads or torch.get_num_threads(), dtype)
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    name = name_of_device(torch.cuda.get_device_name(device))
    return machine_of(name, GPUS[name], is_bfloat16=dtype == torch.bfloat16) if name else None


@cache
def measured_machine(shape: ShapeConfig, rows: int, threads: int, dtype: torch.dtype) -> Machine:
    """This processor, with its rates of products for a model of this shape. What its memory reads is part of them."""
    step, update = (threads * _rate(shape, max(1, n // threads), dtype) for n in (rows, UPDATE_ROWS * threads))
    return Machine(
        f"this machine ({processor_name()}, {threads} threads)", math.inf, step, update / CPU_FACTOR, CPU_STEP_FACTOR
    )


@torch.no_grad()
def _rate(shape: ShapeConfig, rows: int, dtype: torch.dtype) -> float:
    """Operations per second of one thread in products of `rows` rows with the gate of the model's MLP, or as much of it as is
    measured."""
    outputs = max(1, min(shape.intermediate, MOST_WEIGHTS // shape.hidden))
    x, weight = torch.ones(rows, shape.hidden, dtype=dtype), torch.ones(outputs, shape.hidden, dtype=dtype)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        linear(x, weight)
        fastest = min(_seconds(x, weight) for _ in range(REPEATS))
    finally:
        torch.set_num_threads(num_threads)
    return 2 * rows * weight.numel() / fastest


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    """Processor time of one product; a small one is repeated, since the clock counts in microseconds."""
    repeats = max(1, 2**24 // (len(x) * weight.numel()))
    begun = time.thread_time()
    for _ in range(repeats):
        linear(x, weight)
    return max(time.thread_time() - begun, 1e-6) / repeats
