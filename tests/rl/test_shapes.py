"""Checks at the door: a tensor of another rank or shape than stated is refused by the function that got it, never broadcast."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from laconic.rl import advantages, losses, masked
from laconic.rl.shapes import check_shapes
from laconic.training.preferences import all_pairs, pair_weights

B, T = 3, 5
TOKENS = torch.linspace(-1.0, 1.0, B * T).reshape(B, T)
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=torch.bool)
ROWS, COUNTED, GROUPS = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([True, True, False]), torch.tensor([0, 0, 1])

Call = tuple[Callable[..., Any], dict[str, Tensor]]


def per_token(function: Callable[..., Any], names: str, **settings: Any) -> Call:
    """A call with [B, T] for every name; what is called mask is one."""
    return partial(function, **settings), {name: MASK if name == "mask" else TOKENS for name in names.split()}


GAE = {"rewards": TOKENS, "values": TOKENS, "mask": MASK, "last_values": ROWS}
GROUPED = {"rewards": ROWS, "groups": GROUPS, "is_counted": COUNTED}
COLUMNS = {"lengths": ROWS, "rewards": ROWS, "is_correct": COUNTED, "groups": GROUPS, "loss_rows": COUNTED}

CALLS: dict[str, Call] = {
    "zeroed": per_token(masked.zeroed, "x mask"),
    "masked_sum": per_token(masked.masked_sum, "x mask", dim=1),
    "masked_mean": per_token(masked.masked_mean, "x mask"),
    "standardize": per_token(masked.standardize, "x mask"),
    "token_weights": per_token(
        masked.token_weights, "mask", aggregation="response", num_responses=3, num_tokens=9, max_tokens=5
    ),
    "td_errors": (partial(advantages.td_errors, gamma=0.9), GAE),
    "gae": (partial(advantages.gae, gamma=0.9, gae_lambda=0.95), GAE),
    "discounted_sums": per_token(advantages.discounted_sums, "x mask", decay=0.9),
    "group_centred": (advantages.group_centred, GROUPED),
    "leave_one_out": (advantages.leave_one_out, GROUPED),
    "group_standardized": (advantages.group_standardized, GROUPED),
    "clipped_surrogate": per_token(losses.clipped_surrogate, "log_ratio advantages"),
    "sequence_log_ratio": per_token(losses.sequence_log_ratio, "log_ratio mask"),
    "truncated_importance": per_token(losses.truncated_importance, "logprobs sampler_logprobs", cap=2.0),
    "is_clipped": per_token(losses.is_clipped, "log_ratio advantages"),
    "value_loss": per_token(losses.value_loss, "values old_values returns"),
    "pair_weights": (partial(pair_weights, pairs=[(0, 1)], beta=2.0), {"scores": ROWS}),
    "all_pairs": (partial(all_pairs, rule="kimi"), COLUMNS),
}
"""Every public function that takes more than one tensor or wants a rank, with arguments that fit."""

WITHOUT_VALUES = sorted(
    name
    for name, (_, tensors) in CALLS.items()
    if "groups" not in tensors
    and name != "pair_weights"  # they read how many groups there are, or which rows are paired
)
"""Those that can be compiled, or called on tensors without values."""

SPOILED: dict[str, Callable[[Tensor], Tensor]] = {
    "a rank more": lambda x: x[None],
    "a rank less": lambda x: x[0],
    "one row for all": lambda x: x[:1],
    "one column for all": lambda x: x[..., :1],
    "transposed": lambda x: x.T,
}


def spoiled_calls() -> list[Any]:
    """Every tensor of every call, spoiled in each way that changes its shape."""
    return [
        pytest.param(name, argument, how, id=f"{name}-{argument}-{how}")
        for name, (_, tensors) in CALLS.items()
        for argument, tensor in tensors.items()
        for how in SPOILED
        if not (how == "transposed" and tensor.ndim < 2)
        and not (len(tensors) == 1 and tensor.ndim == SPOILED[how](tensor).ndim)  # a rank alone is wanted
    ]


@pytest.mark.parametrize(("name", "argument", "how"), spoiled_calls())
def test_a_wrong_shape_is_refused_at_the_door(name: str, argument: str, how: str) -> None:
    """By the function that got it, with its own shape and the others'."""
    function, tensors = CALLS[name]
    wrong = SPOILED[how](tensors[argument])
    with pytest.raises(ValueError, match=rf"^{name}: expected ") as caught:
        function(**tensors | {argument: wrong})
    for given, tensor in (tensors | {argument: wrong}).items():
        assert f"{given} {list(tensor.shape)}" in str(caught.value)


def test_every_public_function_of_tensors_has_its_call() -> None:
    """Those left out take one tensor of any shape."""
    modules = (masked, advantages, losses)
    public = {name for m in modules for name, f in vars(m).items() if getattr(f, "__module__", "") == m.__name__}
    public = {name for name in public if not name.startswith("_") and name[0].islower()}
    assert public - set(CALLS) == {"kl", "kl_k1", "kl_k2", "kl_k3", "entropy"}


@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_the_checks_leave_no_trace_in_a_compiled_function(name: str) -> None:
    """One graph without a break, and the same numbers."""
    function, tensors = CALLS[name]
    torch.compiler.reset()
    compiled = torch.compile(lambda given: function(**given), backend="eager", fullgraph=True)
    assert torch.equal(compiled(tensors), function(**tensors))


@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_the_checks_read_no_value(name: str) -> None:
    """Tensors without values pass, and their shapes are checked all the same."""
    function, tensors = CALLS[name]
    expected = function(**tensors).shape
    assert function(**{key: tensor.to("meta") for key, tensor in tensors.items()}).shape == expected
    with FakeTensorMode() as mode:
        fakes = {key: mode.from_tensor(tensor) for key, tensor in tensors.items()}
        assert function(**fakes).shape == expected
        first = next(iter(fakes))
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            function(**fakes | {first: fakes[first][None]})


def test_the_complaint_names_what_was_expected_and_what_came() -> None:
    """In the order of the arguments; letters stand for sizes, dots for any shape."""
    with pytest.raises(
        ValueError, match=r"^gae: expected values \[B, T\], last \[B\]; got values \[3, 5\], last \[5\]$"
    ):
        check_shapes("gae", values=(TOKENS, "BT"), last=(TOKENS[0], "B"))
    with pytest.raises(
        ValueError, match=r"^zeroed: expected x \[\.\.\.\], mask \[\.\.\.\]; got x \[3, 5\], mask \[3\]$"
    ):
        check_shapes("zeroed", x=(TOKENS, "..."), mask=(COUNTED, "..."))
    check_shapes("zeroed", x=(TOKENS[0, 0], "..."), mask=(COUNTED[0], "..."))


# --- what a tensor holds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_a_mask_that_is_not_boolean_is_refused(dtype):
    with pytest.raises(ValueError, match=f"masked_sum: expected mask as booleans, got {dtype}"):
        masked.masked_sum(torch.ones(2, 3), torch.ones(2, 3, dtype=dtype))


def test_something_else_than_a_tensor_is_refused():
    with pytest.raises(ValueError, match="group_centred: expected rewards as a tensor, got list"):
        advantages.group_centred([1.0, 0.0], torch.tensor([0, 0]), torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize(
    "function", [advantages.group_centred, advantages.leave_one_out, advantages.group_standardized]
)
def test_integer_rewards_are_refused(function):
    """Their mean would be rounded: rewards 1 and 0 would have the advantages 0 and 0."""
    with pytest.raises(ValueError, match=r"expected rewards as floating-point numbers, got torch\.int64"):
        function(torch.tensor([1, 0]), torch.tensor([0, 0]), torch.ones(2, dtype=torch.bool))


def test_an_unknown_aggregation_or_estimator_is_refused():
    with pytest.raises(ValueError, match="unknown aggregation 'tokens'; known: response, token, constant, sum"):
        masked.token_weights(torch.ones(2, 3, dtype=torch.bool), "tokens", num_responses=2, num_tokens=6, max_tokens=3)
    with pytest.raises(ValueError, match="unknown estimator 'k4'; known: k1, k2, k3"):
        losses.kl(torch.zeros(2, 3), "k4")
