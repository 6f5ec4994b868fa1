"""What `prefixes` claims: a tree has the loss and the gradients of whole rows, and a model that cannot use one is found out."""

from typing import Any

import oracles
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from laconic.models import prefixes
from laconic.models.causal_lm import CausalLM
from laconic.models.prefixes import is_worth_sharing, prefix_tree, shares_correctly
from laconic.models.scoring import response_states
from laconic.training.batching import MicroBatch, RolloutBatch, collate, micro_batches

CPU = torch.device("cpu")
ARCHITECTURES = (*oracles.ARCHITECTURES, "gpt2", "gpt_neox")
TOKENS = {"vocab_size": 40, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def lm_of(architecture: str) -> CausalLM:
    """A small random model in float64, in evaluation mode."""
    if architecture in oracles.ARCHITECTURES:
        lm: CausalLM = oracles.small_lm(architecture)
    else:
        torch.manual_seed(0)
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
        if architecture == "gpt2":
            config: Any = transformers.AutoConfig.for_model("gpt2", **shape, **TOKENS)
        else:
            config = transformers.AutoConfig.for_model(
                "gpt_neox", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, **TOKENS
            )
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        lm = CausalLM(model.eval(), oracles.small_tokenizer(), architecture)
    lm.model.double()
    return lm


def grouped() -> RolloutBatch:
    """Two groups: prompts of 11 and 3 tokens, responses of 1 to 9, of which two are equal and three begin alike."""
    long, short = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [5, 6, 20]
    responses = [[21, 22, 1], [21, 22, 23, 24, 25, 26, 27, 28, 1], [21, 23, 1], [30, 1], [30, 1]]
    groups = [
        oracles.make_group(long, [(ids, 1.0, "correct") for ids in responses]),
        oracles.make_group(short, [(ids, 1.0, "correct") for ids in ([9], [31, 32, 33, 34, 35, 36, 37, 1])]),
    ]
    return collate(groups, truncated="penalise")


class InDouble(TorchFunctionMode):
    """Computes in float64 what a model computes in float32 whatever its weights are: norms, softmax, rotations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wide = [torch.float64 if x is torch.float32 else x for x in args]
        options = {k: torch.float64 if x is torch.float32 else x for k, x in (kwargs or {}).items()}
        return Tensor.double(*args) if func is Tensor.float else func(*wide, **options)


def spoilt(micro: MicroBatch) -> Tensor:
    """The micro-batch's token ids with other tokens in the padding."""
    real = torch.arange(micro.input_ids.shape[1])[None] <= micro.final[:, None]
    return torch.where(real, micro.input_ids, torch.tensor(39))


def loss_and_gradients(lm: CausalLM, micros: list[MicroBatch], batch: RolloutBatch) -> dict[str, Tensor]:
    """The weighted sum of the log-probabilities of all response tokens, and its gradient at every weight."""
    weights = torch.rand(batch.response_mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lm.model.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64)
    for micro in micros:
        states = response_states(lm, spoilt(micro), micro.predictors, micro.counted, micro.tree)
        ids = micro.response_ids.flatten()[micro.counted, None]
        logprobs = lm.model.get_output_embeddings()(states).log_softmax(dim=-1).gather(1, ids)[:, 0]
        loss = (weights[micro.rows, : micro.mask.shape[1]].flatten()[micro.counted] * logprobs).sum()
        torch.autograd.backward(loss)
        total += loss.detach()
    return {"loss": total} | {name: p.grad.clone() for name, p in lm.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_every_gradient_are_those_of_whole_rows(architecture: str) -> None:
    """In float64 to 1e-10, windows and soft caps included, by a budget for all rows and by one for a few."""
    lm, batch = lm_of(architecture), grouped()
    assert lm.sharing_width == 32
    rows = range(batch.num_rows)
    with InDouble():
        wanted = loss_and_gradients(lm, micro_batches(batch, rows, 1000, CPU), batch)
    for budget in (1000, 30):
        micros = micro_batches(batch, rows, budget, CPU, sharing_width=10_000)
        assert all(micro.tree is not None for micro in micros) and (len(micros) > 1) is (budget == 30)
        with InDouble():
            found = loss_and_gradients(lm, micros, batch)
        assert found.keys() == wanted.keys() and len(found) > 10
        for name, value in found.items():
            assert (value - wanted[name]).abs().max().item() <= 1e-10 * max(1.0, wanted[name].abs().max().item()), name


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_a_tree_has_one_node_for_each_distinct_prefix(rows: list[list[int]]) -> None:
    """Following a row's nodes gives its tokens and positions; equal prefixes have equal nodes, different ones different nodes."""
    tree = prefix_tree(rows)
    node_of = {tuple(row[: t + 1]): int(tree.nodes[i, t]) for i, row in enumerate(rows) for t in range(len(row))}
    assert sorted(node_of.values()) == list(range(len(tree.token_ids)))
    for i, row in enumerate(rows):
        nodes = tree.nodes[i, : len(row)]
        assert tree.token_ids[nodes].tolist() == row
        assert tree.depths[nodes].tolist() == list(range(len(row)))
        assert nodes.tolist() == [node_of[tuple(row[: t + 1])] for t in range(len(row))]
    assert sum(count for count, _ in tree.blocks) == len(rows)
    assert tree.places[tree.first].tolist() == list(range(len(tree.token_ids)))
    assert tree.places[tree.again].tolist() == tree.again_nodes.tolist()
    assert len(tree.first) + len(tree.again) == sum(map(len, rows))


@pytest.mark.parametrize("is_rounded", [False, True])
@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_a_model_that_reads_other_tokens_in_another_way_does_not_share(kind: str, is_rounded: bool) -> None:
    """Bloom adds a bias by distance, Mamba carries a state: neither asks transformers' attention functions."""
    if kind == "bloom":
        config: Any = transformers.AutoConfig.for_model("bloom", hidden_size=32, n_layer=1, n_head=4, **TOKENS)
    else:
        config = transformers.AutoConfig.for_model("mamba", hidden_size=32, num_hidden_layers=1, state_size=4, **TOKENS)
    model = transformers.AutoModel.from_config(config).eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_rounded):
        assert not shares_correctly(model, CPU)


def test_what_fails_of_a_model_by_itself_is_no_answer() -> None:
    """Maps in bfloat16 take no float32 outside of autocast, with or without a tree."""
    lm = oracles.small_lm("llama")
    lm.settle_dtype(torch.float32, computes_in_bfloat16=True)
    lm.hold_rounded()
    body = lm.model.model
    with pytest.raises(RuntimeError, match="dtype"):
        shares_correctly(body, CPU)
    assert lm.sharing_width == 32


def test_memory_that_runs_out_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(prefixes, "hidden_states", full)
    with pytest.raises(torch.OutOfMemoryError):
        _ = oracles.small_lm("llama").sharing_width


def test_a_model_in_training_mode_does_not_share() -> None:
    """Dropout draws a mask for every row, and with gradient checkpointing layers run again when no tree is there."""
    lm = oracles.small_lm("llama")
    assert lm.sharing_width == 32
    lm.model.train()
    assert lm.sharing_width is None


def test_sharing_is_decided_by_counts() -> None:
    """576 wide: 400 of 3,600 tokens saved are a ninth, the price; 399 are less. Rows without anything in common never share."""
    assert is_worth_sharing(3200, 3600, width=576)
    assert not is_worth_sharing(3201, 3600, width=576)
    assert not is_worth_sharing(3600, 3600, width=10_000)
