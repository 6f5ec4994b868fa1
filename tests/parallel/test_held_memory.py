"""What a process of a team holds in memory is what `laconic doctor` and the dry run predict of it.

Two processes make the roles of a phase over a small model and take a step of AdamW; the bytes of their tensors are counted. Norms
and value heads are left out on both sides (under 0.1% of a real model).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranked import in_team
from small import save_small_model, small_recipe
from torch import Tensor, nn

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.config.recipe import Recipe
from laconic.doctor.memory_model import Work, predict_moments
from laconic.doctor.memory_needs import find_shape
from laconic.doctor.spread import GpuSpread
from laconic.models.policy import load_policy
from laconic.models.sharded_policy import ShardedPolicy
from laconic.parallel.team import Team
from laconic.training.check.phases import ResolvedPhase, resolve_phase

CASES = {
    "float32, separate critic": PolicyConfig(dtype="float32"),
    "bfloat16, separate critic": PolicyConfig(dtype="bfloat16"),
    "bfloat16, adapters": PolicyConfig(dtype="bfloat16", lora=LoraConfig()),
}


def recipe_of(folder: Path, case: str) -> tuple[Recipe, ResolvedPhase]:
    """The recipe of a case, and its phase, which has a separate critic and a reference that stands still."""
    recipe = small_recipe(folder / "model").model_copy(update={"policy": CASES[case]})
    phase = recipe.phases[0]
    still = phase.algorithm.model_copy(update={"reference": "frozen"})
    return recipe, resolve_phase(phase.model_copy(update={"algorithm": still}), recipe.policy)


def size_of(tensors: Iterable[Any]) -> int:
    """Bytes that this process holds of matrices; tensors that share memory count once."""
    held = {}
    for tensor in tensors:
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if tensor.dim() > 1 and tensor.shape[0] > 1:
            held[local.untyped_storage().data_ptr()] = local.numel() * local.element_size()
    return sum(held.values())


def held_by(team: Team, folder: Path, case: str) -> dict[str, int]:
    """What a process holds, under the names of the prediction."""
    recipe, phase = recipe_of(folder, case)
    policy = ShardedPolicy(load_policy(recipe), team)
    policy.begin_phase(critic=phase.critic, needs_reference=phase.needs_reference, reference_moves=False)
    learnt = policy.policy_parameters() | {f"critic/{name}": p for name, p in policy.critic_parameters().items()}
    adam = torch.optim.AdamW(learnt.values(), lr=0.0)
    for parameter in learnt.values():
        parameter.grad = torch.zeros_like(parameter)
    adam.step()
    body: Any = policy.critic
    reference: Any = policy.reference
    own = set(map(id, policy.lm.model.parameters()))
    of_reference = [p for p in reference.lm.model.parameters() if id(p) not in own] or reference.parameters().values()
    adapter = set() if reference.lm is not policy.lm else set(map(id, reference.parameters().values()))
    return {
        "whole policy, which draws": size_of(policy.whole.lm.model.parameters()),
        "policy weights": size_of(p for p in policy.lm.model.parameters() if id(p) not in adapter),
        "critic weights": size_of(body.body.parameters()),
        "reference weights": size_of(of_reference),
        "optimizer moments": size_of(
            adam.state[p][name] for p in learnt.values() for name in ("exp_avg", "exp_avg_sq")
        ),
    }


def while_computing(team: Team, folder: Path) -> dict[str, Any]:
    """In bfloat16: the dtype of a layer's map while it is computed, and what autograd keeps of all maps' bfloat16 copies."""
    recipe, _ = recipe_of(folder, "bfloat16, separate critic")
    policy = ShardedPolicy(load_policy(recipe), team)
    policy.begin_phase(critic="zero", needs_reference=False)
    shapes = [tuple(m.weight.shape) for m in policy.lm.model.modules() if isinstance(m, nn.Linear)]
    kept: dict[int, tuple[int, ...]] = {}
    dtypes: list[torch.dtype] = []

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dtype is torch.bfloat16 and (tuple(tensor.shape) in shapes or tuple(tensor.shape)[::-1] in shapes):
            kept[tensor.untyped_storage().data_ptr()] = tuple(tensor.shape)
        return tensor

    layer = next(module for module in policy.lm.model.modules() if isinstance(module, nn.Linear))
    layer.register_forward_pre_hook(lambda module, _: dtypes.append(module.weight.dtype))
    ids = torch.randint(3, 20, (2, 9))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), policy.learning():
        logprobs, _ = policy.logprobs(ids, torch.full((2, 1), 7), ids[:, 8:], torch.ones(2, 1), temperature=1.0)
    assert logprobs.requires_grad
    return {"dtypes": set(dtypes), "kept": len(kept), "maps": len(shapes)}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of the model, and what each process holds in every case, and while it computes."""
    folder = tmp_path_factory.mktemp("held")
    save_small_model(folder / "model")

    def work(team: Team) -> dict[str, Any]:
        return {case: held_by(team, folder, case) for case in CASES} | {"computing": while_computing(team, folder)}

    return folder, in_team(2, work, folder / "pair")


@pytest.mark.parametrize("case", CASES)
def test_a_process_holds_what_is_predicted(case: str, held: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, found = held
    recipe, phase = recipe_of(folder, case)
    work = Work(rows=2, prompts=1, prompt_tokens=20, device="cpu", process_bytes=0, spread=GpuSpread(2))
    moments = predict_moments(find_shape(recipe).config, phase, recipe.policy, work)
    predicted = next(moment for moment in moments if moment.name == "scoring").parts
    for one in found:
        assert one[case] == pytest.approx({name: predicted[name] for name in one[case]}, rel=0.01)
    assert found[0][case]["whole policy, which draws"] > 1.5 * found[0][case]["policy weights"]


def test_weights_travel_as_they_are_held_and_autocast_keeps_copies(held: tuple[Path, list[dict[str, Any]]]) -> None:
    """With `dtype = "bfloat16"` a layer is gathered in float32, and a bfloat16 copy of each map stays for the backward pass."""
    _, found = held
    for one in found:
        assert one["computing"]["dtypes"] == {torch.float32}
        assert one["computing"]["kept"] >= one["computing"]["maps"] - 1  # the head's may be made anew
