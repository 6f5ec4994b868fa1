"""What `policy` claims: scores are the model's own, saving gives back what was loaded, and three roles on one base stay apart."""

import gc
import json
import math
from collections.abc import Iterator
from pathlib import Path

import oracles
import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from laconic.config.policy import LoraConfig, PolicyConfig
from laconic.errors import ModelError
from laconic.models import scoring as scoring_module
from laconic.models.causal_lm import CausalLM
from laconic.models.loading import load_model, open_model, pick_device
from laconic.models.policy import Policy
from laconic.models.roles import SeparateCritic
from laconic.training import batching
from laconic.training.batching import MicroBatch, collate, micro_batches

CONFIG = PolicyConfig(device="cpu")
LORA = PolicyConfig(device="cpu", lora=LoraConfig(rank=2, alpha=4.0))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small random checkpoint an architecture."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: oracles.save_checkpoint(name, root / name) for name in oracles.ARCHITECTURES}


def ragged() -> MicroBatch:
    """The ragged step in one micro-batch: prompts of 1 to 9 tokens, responses of 1 to 12, sequences beyond the window of 8."""
    batch = collate(oracles.ragged_groups(), truncated="penalise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "MIN_FILL", 0.0)
        (micro,) = micro_batches(batch, range(batch.num_rows), 10_000, torch.device("cpu"))
    return micro


def scored(policy: Policy, micro: MicroBatch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
    return policy.logprobs(*inputs, temperature=temperature, entropy="learned")


def full_forward(lm: CausalLM, micro: MicroBatch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The oracle: each row alone and unpadded through the model's own forward; log_softmax at every response token."""
    logprobs, entropies = torch.zeros(micro.mask.shape), torch.zeros(micro.mask.shape)
    for i in range(len(micro.rows)):
        length = int(micro.mask[i].sum())
        sequence = micro.input_ids[i : i + 1, : int(micro.final[i]) + 1]
        log_p = (lm.model(input_ids=sequence).logits[0].float() / temperature).log_softmax(-1)
        log_p = log_p[-1 - length : -1]
        logprobs[i, :length] = log_p.gather(-1, sequence[0, -length:, None])[:, 0]
        entropies[i, :length] = -(log_p.exp() * log_p).sum(-1)
    return logprobs, entropies


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Every gradient by name; cleared behind."""
    out = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return out


def randomize(parameters: dict[str, nn.Parameter], seed: int = 0) -> None:
    """Overwrite weights with small random numbers (a fresh adapter changes nothing: its second factor is 0)."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1


# --- scoring ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", oracles.ARCHITECTURES)
@pytest.mark.parametrize("per_chunk", [None, 120], ids=["whole", "chunks of 3 tokens"])
def test_logprobs_are_those_of_a_full_forward(
    checkpoints: dict[str, Path], architecture: str, per_chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, entropies and every weight's gradient to 1e-5, at temperature 0.7, padded and in chunks of the head or not."""
    if per_chunk:
        monkeypatch.setattr(scoring_module, "LOGITS_PER_CHUNK", per_chunk)
    policy, micro = Policy(load_model(str(checkpoints[architecture]), CONFIG), CONFIG, seed=0), ragged()
    weights = torch.rand(micro.mask.shape, generator=torch.Generator().manual_seed(0)) / micro.mask.sum()
    results = []
    for logprobs, entropies in (scored(policy, micro, 0.7), full_forward(policy.lm, micro, 0.7)):
        torch.autograd.backward((weights * (logprobs + 0.1 * entropies)).sum())
        results.append((logprobs.detach(), entropies.detach(), gradients(policy.lm.model)))
    (logprobs, entropies, grads), (want_logprobs, want_entropies, want_grads) = results
    assert (logprobs - want_logprobs).abs().max().item() < 1e-5
    assert (entropies - want_entropies).abs().max().item() < 1e-5
    assert grads.keys() == want_grads.keys()
    assert max(g.abs().max().item() for g in grads.values()) > 1e-2
    for name, gradient in grads.items():
        assert (gradient - want_grads[name]).abs().max().item() < 1e-5, name


def test_scores_of_padding_are_zero() -> None:
    """Outside the mask both outputs are exactly 0, whatever stands in the padding."""
    policy, micro = Policy(oracles.small_lm("llama"), CONFIG, seed=0), ragged()
    logprobs, entropies = scored(policy, micro)
    assert logprobs[~micro.mask].eq(0).all()
    assert entropies[~micro.mask].eq(0).all()
    assert logprobs[micro.mask].lt(0).all()


def test_a_reference_scores_as_the_policy_did() -> None:
    """Full fine-tuning: the reference is a copy; moving the policy leaves it, and no gradient reaches it."""
    policy, micro = Policy(oracles.small_lm("qwen2"), CONFIG, seed=0), ragged()
    policy.begin_phase(critic="zero", needs_reference=True)
    before = scored(policy, micro)[0].detach()
    randomize(policy.policy_parameters())
    inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
    assert torch.equal(policy.ref_logprobs(*inputs, temperature=1.0), before)
    assert not any(p.requires_grad for p in policy.reference_parameters().values())


def test_the_zero_critic_says_zero_and_a_fresh_one_too() -> None:
    """A critic starts at 0 everywhere, so that the first advantages are those without one."""
    policy, micro = Policy(oracles.small_lm("llama"), CONFIG, seed=0), ragged()
    for kind, learns in (("zero", False), ("separate", True)):
        policy.begin_phase(critic=kind, needs_reference=False)
        assert policy.values(micro.input_ids, micro.predictors).eq(0).all()
        assert bool(policy.critic_parameters()) is learns


def test_values_are_read_at_the_positions_asked_for() -> None:
    """The head on the critic's own hidden states, position by position; the policy's weights are not involved."""
    policy, micro = Policy(oracles.small_lm("llama"), CONFIG, seed=0), ragged()
    policy.begin_phase(critic="separate", needs_reference=False)
    assert isinstance(policy.critic, SeparateCritic)
    randomize(policy.critic_parameters())
    values = policy.values(micro.input_ids, micro.predictors)
    for i in range(len(micro.rows)):
        sequence = micro.input_ids[i : i + 1, : int(micro.final[i]) + 1]
        own = policy.critic.value_head(policy.critic.body(input_ids=sequence).last_hidden_state)[0, :, 0]
        length = int(micro.mask[i].sum())
        assert values[i, :length].tolist() == pytest.approx(own[-1 - length : -1].tolist(), abs=1e-5)
    torch.autograd.backward(values.sum())
    assert gradients(policy.lm.model) == {}


# --- saving and loading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", oracles.ARCHITECTURES)
def test_a_saved_model_comes_back_as_it_was(checkpoints: dict[str, Path], architecture: str, tmp_path: Path) -> None:
    """Identical logits, tokenizer and generation config, also for settings that the architecture itself does not have."""
    source = checkpoints[architecture]
    stated = json.loads((source / "generation_config.json").read_text()) | {"eos_token_id": [1, 9]}
    (source / "generation_config.json").write_text(json.dumps(stated))
    lm = load_model(str(source), CONFIG)
    Policy(lm, CONFIG, seed=0).save(tmp_path / "out")
    again = load_model(str(tmp_path / "out"), CONFIG)
    ids = ragged().input_ids
    assert torch.equal(lm.model(input_ids=ids).logits, again.model(input_ids=ids).logits)
    assert again.stop_ids == frozenset({1, 9})
    assert again.tokenizer("w0 w3 <eos>")["input_ids"] == lm.tokenizer("w0 w3 <eos>")["input_ids"]
    assert again.decode([4, 7, 1]) == lm.decode([4, 7, 1])
    assert again.tokenizer.eos_token_id == oracles.EOS_ID
    if (
        architecture != "qwen2"
    ):  # transformers reads any tokenizer beside a Qwen2 config as Qwen2's own, splitting into bytes
        assert again.tokenizer("w0 w3 <eos>")["input_ids"] == [4, 7, 1]
        assert again.decode([4, 7, 1]) == "w0 w3"


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2"])
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)], ids=["full", "lora"])
def test_what_was_stored_in_bfloat16_is_saved_in_bfloat16(
    tmp_path: Path, architecture: str, lora: LoraConfig | None
) -> None:
    """Weights learn in float32, but go back in the dtype they came in: the file and the config say so, twice over."""
    folder = oracles.save_checkpoint(architecture, tmp_path / "0", dtype="bfloat16")
    for generation in (1, 2):
        config = PolicyConfig(device="cpu", dtype="auto", lora=lora)
        policy = Policy(load_model(str(folder), config), config, seed=0)
        assert all(p.dtype == torch.float32 for p in policy.policy_parameters().values())
        folder = tmp_path / str(generation)
        policy.save(folder)
        with safe_open(folder / "model.safetensors", "pt") as weights:
            assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118
        assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    first, last = (load_file(tmp_path / i / "model.safetensors") for i in ("0", "2"))
    assert all(torch.equal(first[name], last[name]) for name in first)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no folder", "no such folder"),
        ("no config", "no config.json"),
        ("no weights", r"no \*.safetensors"),
        ("unreadable weights", "cannot be loaded"),
        ("a weight is missing", "1 weights are missing .* lm_head.weight"),
        ("a weight is nan", r"the weight lm_head\.weight holds NaN or infinite numbers"),
        ("a weight is infinite", r"the weight model\.norm\.weight holds NaN or infinite numbers"),
        ("no tokenizer", "cannot be loaded"),
    ],
)
def test_a_folder_that_holds_no_model_is_refused_in_one_line(tmp_path: Path, broken: str, message: str) -> None:
    """The line names the folder; a missing weight is not filled with random numbers."""
    folder = tmp_path / "model"
    if broken != "no folder":
        oracles.save_checkpoint("llama", folder)
    weights = folder / "model.safetensors"
    match broken:
        case "no config":
            (folder / "config.json").unlink()
        case "no weights":
            weights.unlink()
        case "unreadable weights":
            weights.write_bytes(b"interrupted")
        case "a weight is missing":
            kept = {name: tensor for name, tensor in load_file(weights).items() if name != "lm_head.weight"}
            save_file(kept, weights, metadata={"format": "pt"})
        case "a weight is nan" | "a weight is infinite":
            kept = load_file(weights)
            name, value = (
                ("lm_head.weight", math.nan) if broken == "a weight is nan" else ("model.norm.weight", math.inf)
            )
            kept[name].view(-1)[-1] = value
            save_file(kept, weights, metadata={"format": "pt"})
        case "no tokenizer":
            for path in folder.glob("tokenizer*"):
                path.unlink()
    with pytest.raises(ModelError, match=message) as caught:
        load_model(str(folder), CONFIG)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_in_memory_with_an_adapter_on_it_is_refused() -> None:
    """transformers would save the adapter alone, so that what is trained would be lost."""
    lm = oracles.small_lm("llama")
    lm.model.add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="has an adapter of LoRA on it; merge it into the weights first"):
        open_model((lm.model, lm.tokenizer), CONFIG)


def test_an_architecture_whose_head_is_not_understood_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting Gemma 2's soft cap of 3 would score wrong log-probabilities; loading notices."""
    lm = oracles.small_lm("gemma2")
    lm.check_head()
    monkeypatch.setattr(lm, "text_config", oracles.small_model("llama").config)
    with pytest.raises(ModelError, match="Gemma2ForCausalLM makes its logits in a way"):
        lm.check_head()


# --- LoRA ------------------------------------------------------------------------------------------------------------


def adapted(architecture: str = "llama", *, critic: str = "zero", needs_reference: bool = False) -> Policy:
    """A policy whose adapter has learned something, at the beginning of a phase."""
    policy = Policy(oracles.small_lm(architecture), LORA, seed=0)
    randomize(policy.policy_parameters(), seed=1)
    policy.begin_phase(critic=critic, needs_reference=needs_reference)
    return policy


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_adapters_are_saved_merged_and_the_live_model_is_left_alone(architecture: str, tmp_path: Path) -> None:
    """base + B A alpha / rank in one plain checkpoint: logits to 1e-4; saving changes no live bit. Also with tied weights and
    with the other roles' adapters in place."""
    policy = adapted(architecture, critic="lora", needs_reference=True)
    randomize(policy.critic_parameters(), seed=2)
    ids = ragged().input_ids
    before = {name: p.clone() for name, p in policy.lm.model.named_parameters()}
    learns = {name: p.requires_grad for name, p in policy.lm.model.named_parameters()}
    live = policy.lm.model(input_ids=ids).logits.detach()
    policy.save(tmp_path / "out")
    merged = load_model(str(tmp_path / "out"), CONFIG)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    assert (merged.model(input_ids=ids).logits - live).abs().max().item() < 1e-4
    assert (oracles.small_model(architecture)(input_ids=ids).logits - live).abs().max().item() > 1e-2
    assert all(torch.equal(p, before[name]) for name, p in policy.lm.model.named_parameters())
    assert {name: p.requires_grad for name, p in policy.lm.model.named_parameters()} == learns


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_what_adapters_add_is_added_in_float32(stored: torch.dtype) -> None:
    """Also where the base is held in bfloat16: base + B A in float32, rounded once to the dtype of the files."""
    lm = oracles.small_lm("llama")
    lm.settle_dtype(stored, computes_in_bfloat16=True)
    lm.hold_rounded()  # as loading does where adapters are trained
    policy = Policy(lm, LORA, seed=0)
    randomize(policy.policy_parameters(), seed=1)
    state, num_rounded = policy.plain(stored)[1], 0
    for name, module in policy.lm.model.named_modules():
        if hasattr(module, "base_layer"):
            base, delta = module.base_layer.weight.detach(), module.get_delta_weight("default").detach()
            assert delta.abs().max() > 0
            assert torch.equal(state[f"{name}.weight"], (base.float() + delta.float()).to(stored))
            num_rounded += base.dtype == torch.bfloat16
    assert num_rounded > 0


def outputs(policy: Policy, micro: MicroBatch) -> dict[str, Tensor]:
    """What each of the three roles says about the ragged step."""
    inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
    return {
        "policy": scored(policy, micro)[0].detach(),
        "critic": policy.values(micro.input_ids, micro.predictors).detach(),
        "reference": policy.ref_logprobs(*inputs, temperature=1.0),
    }


@pytest.mark.parametrize("num_phases", [1, 2])
def test_three_roles_on_one_base_do_not_hear_each_other(num_phases: int) -> None:
    """The reference begins as the policy; perturbing one adapter changes that role and no other. Also in a second phase."""
    policy, micro = adapted(critic="lora", needs_reference=True), ragged()
    for _ in range(num_phases - 1):
        randomize(policy.policy_parameters(), seed=5)
        policy.begin_phase(critic="lora", needs_reference=True)
    assert policy.critic is not None
    randomize({"head": policy.critic.value_head.weight})
    said = outputs(policy, micro)
    assert torch.equal(said["policy"], said["reference"])
    roles = {
        "policy": policy.policy_parameters(),
        "critic": policy.critic_parameters(),
        "reference": policy.reference_parameters(),
    }
    assert all(len(named) >= 28 for named in roles.values())  # 2 layers x 7 projections x 2 factors
    for seed, (role, parameters) in enumerate(roles.items()):
        randomize(parameters, seed=10 + seed)
        now = outputs(policy, micro)
        for other in roles:
            assert torch.equal(now[other], said[other]) is (other != role), (role, other)
        said = now


def test_each_loss_reaches_its_own_adapter_only() -> None:
    """The policy's gradient is on the policy's adapter, the critic's on its adapter and head; the base gets none."""
    policy, micro = adapted(critic="lora", needs_reference=True), ragged()
    assert policy.critic is not None
    randomize(policy.critic_parameters())
    torch.autograd.backward(scored(policy, micro)[0].sum())
    assert gradients(policy.lm.model).keys() == policy.policy_parameters().keys()
    assert policy.critic.value_head.weight.grad is None
    torch.autograd.backward(policy.values(micro.input_ids, micro.predictors).sum())
    assert {f"value_head.{n}" for n in gradients(policy.critic.value_head)} | gradients(policy.lm.model).keys() == (
        policy.critic_parameters().keys()
    )


def test_a_separate_critic_beside_adapters_learns_with_adapters_of_its_own() -> None:
    """LoRA with critic "separate": the critic is a copy; its base is frozen, and the policy does not hear it."""
    policy, micro = adapted(critic="separate"), ragged()
    said = scored(policy, micro)[0].detach()
    randomize(policy.critic_parameters(), seed=3)
    torch.autograd.backward(policy.values(micro.input_ids, micro.predictors).sum())
    assert gradients(policy.lm.model) == {}
    assert isinstance(policy.critic, SeparateCritic)
    assert all(".default." in name for name in gradients(policy.critic.body))
    assert torch.equal(scored(policy, micro)[0], said)


def test_a_lora_critic_without_lora_is_refused() -> None:
    """It would have no base weights to share."""
    with pytest.raises(ModelError, match=r"needs policy\.lora"):
        Policy(oracles.small_lm("llama"), CONFIG, seed=0).begin_phase(critic="lora", needs_reference=False)


# --- the moving reference, and state ---------------------------------------------------------------------------------


def pairs(policy: Policy) -> Iterator[tuple[Tensor, Tensor]]:
    """(policy's weight, the reference's) by position, as copies."""
    both = (policy.policy_parameters().values(), policy.reference_parameters().values())
    yield from ((p.detach().clone(), r.detach().clone()) for p, r in zip(*both, strict=True))


@pytest.mark.parametrize("config", [CONFIG, LORA], ids=["full", "lora"])
def test_the_reference_moves_by_one_minus_the_decay(config: PolicyConfig) -> None:
    """theta_ref <- 0.9 theta_ref + 0.1 theta, weight by weight; at decay 0 it is the policy, at decay 1 it stays."""
    policy = Policy(oracles.small_lm("llama"), config, seed=0)
    policy.begin_phase(critic="zero", needs_reference=True)
    randomize(policy.policy_parameters(), seed=7)
    before = list(pairs(policy))
    policy.update_reference(1.0)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(pairs(policy), before, strict=True))
    policy.update_reference(0.9)
    for (weight, ref), (old_weight, old_ref) in zip(pairs(policy), before, strict=True):
        assert torch.equal(weight, old_weight)
        assert (ref - (0.9 * old_ref + 0.1 * old_weight)).abs().max().item() < 1e-6
    policy.update_reference(0.0)
    assert all(torch.equal(weight, ref) for weight, ref in pairs(policy))


@pytest.mark.parametrize(
    ("config", "critic"),
    [(CONFIG, "separate"), (LORA, "lora"), (LORA, "separate")],
    ids=["full", "lora", "lora-separate"],
)
def test_the_trainable_state_carries_all_three_roles(config: PolicyConfig, critic: str) -> None:
    """Put into a policy that learned other things, it makes it say the same, bit for bit; of named roles only those."""
    micro = ragged()
    trained, fresh = (Policy(oracles.small_lm("llama"), config, seed=seed) for seed in (0, 1))
    for seed, policy in enumerate((trained, fresh)):
        randomize(policy.policy_parameters(), seed=seed)
        policy.begin_phase(critic=critic, needs_reference=True)
        randomize(policy.policy_parameters() | policy.critic_parameters(), seed=20 + seed)
    state = {name: tensor.clone() for name, tensor in trained.trainable_state().items()}
    wanted, had = outputs(trained, micro), outputs(fresh, micro)
    fresh.load_trainable_state(state, roles=("critic",))
    now = outputs(fresh, micro)
    assert torch.equal(now["critic"], wanted["critic"])
    assert torch.equal(now["policy"], had["policy"])
    fresh.load_trainable_state(state)
    now = outputs(fresh, micro)
    assert all(torch.equal(now[role], wanted[role]) for role in wanted)
    with pytest.raises(KeyError):
        fresh.load_trainable_state({})


@pytest.mark.parametrize("config", [CONFIG, LORA], ids=["full", "lora"])
def test_a_frozen_reference_is_made_again_instead_of_saved(config: PolicyConfig) -> None:
    """Its weights are in no state, and the policy that enters a phase gives the same reference a second time."""
    scores = []
    for _ in range(2):
        policy = Policy(oracles.small_lm("llama"), config, seed=0)
        policy.begin_phase(critic="zero", needs_reference=True, reference_moves=False)
        assert not any(name.startswith("reference/") for name in policy.trainable_state())
        assert not policy.has_moving_reference
        randomize(policy.policy_parameters(), seed=3)
        scores.append(outputs(policy, ragged())["reference"])
    assert torch.equal(*scores)


def test_a_frozen_reference_in_bfloat16_scores_as_one_in_float32() -> None:
    """To the bit, with the linear maps of its layers held in half of the bytes, and nothing else."""
    policy, micro = Policy(oracles.small_lm("qwen2"), CONFIG, seed=0), ragged()
    policy.lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=True)
    scores, held = [], []
    for moves in (True, False):
        policy.begin_phase(critic="zero", needs_reference=True, reference_moves=moves)
        scores.append(outputs(policy, micro)["reference"])
        held.append({name: p.dtype for name, p in policy.reference_parameters().items()})
    assert torch.equal(*scores)
    assert set(held[0].values()) == {torch.float32}
    rounded = {name for name, dtype in held[1].items() if dtype == torch.bfloat16}
    assert rounded == {name for name in held[1] if "_proj." in name} and rounded


def test_a_frozen_reference_in_bfloat16_shares_prefixes_as_the_policy_does() -> None:
    """It is asked in the arithmetic in which it computes: outside of it, maps that are held rounded take no float32."""
    policy = Policy(oracles.small_lm("qwen2"), CONFIG, seed=0)
    policy.lm.settle_dtype(torch.bfloat16, computes_in_bfloat16=True)
    policy.begin_phase(critic="zero", needs_reference=True, reference_moves=False)
    assert policy.reference is not None
    assert policy.reference.lm.sharing_width == policy.lm.sharing_width == 32


def test_recomputed_activations_change_no_gradient(tmp_path):
    """Gradient checkpointing is on inside `learning` and gives the gradients of a plain backward pass."""
    folder = oracles.save_checkpoint("llama", tmp_path)
    ids = torch.arange(4, 12).repeat(9, 1)  # 72 tokens: enough that products go through oneDNN, then and again
    inputs = (ids, torch.arange(3, 7).repeat(9, 1), ids[:, 4:], torch.ones(9, 4, dtype=torch.bool))
    gradients = []
    for is_on in (False, True):
        config = PolicyConfig(gradient_checkpointing=is_on)
        policy = Policy(load_model(str(folder), config), config, seed=0)
        with policy.learning():
            assert policy.lm.model.training is is_on
            policy.logprobs(*inputs, temperature=1.0)[0].sum().backward()
        assert not policy.lm.model.training
        gradients.append([p.grad for p in policy.policy_parameters().values()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_a_checkpointed_policy_is_not_copied_with_its_copies(tmp_path):
    """Policy, separate critic and reference: the weights that come to life are those of the three, and no more."""
    folder = oracles.save_checkpoint("llama", tmp_path)
    config = CONFIG.model_copy(update={"gradient_checkpointing": True})
    earlier = [o for o in gc.get_objects() if type(o) is nn.Parameter]
    known = {id(parameter) for parameter in earlier}
    policy = Policy(load_model(str(folder), config), config, seed=0)
    policy.begin_phase(critic="separate", needs_reference=True)
    roles = (policy.policy_parameters(), policy.critic_parameters(), policy.reference_parameters())
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is nn.Parameter and id(o) not in known]
    assert len(alive) == len({id(parameter) for role in roles for parameter in role.values()})


def test_tokenizer_json_decides(tmp_path):
    """A word-level tokenizer beside a Qwen2 config is the one that is used, whatever transformers would build."""
    folder = oracles.save_checkpoint("qwen2", tmp_path)
    tokenizer = load_model(str(folder), PolicyConfig()).tokenizer
    assert tokenizer("w0 w1", add_special_tokens=False).input_ids == [4, 5]


@pytest.mark.parametrize("critic", ["separate", "lora"])
def test_nothing_is_random_outside_of_learning(critic: str) -> None:
    """New adapters would drop out half of their inputs: two scores of the same rows agree, by the policy, the critic and the
    reference, before a sampler or an update has looked at the model. Inside, two scores of the policy differ."""
    dropping = LORA.model_copy(update={"lora": LoraConfig(rank=2, alpha=4.0, dropout=0.5)})
    policy, micro = Policy(oracles.small_lm("llama"), dropping, seed=0), ragged()
    policy.begin_phase(critic=critic, needs_reference=True)
    assert not any(module.training for module in policy.lm.model.modules())
    generator = torch.Generator().manual_seed(1)
    for parameter in (policy.policy_parameters() | policy.critic_parameters() | policy.reference_parameters()).values():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    inputs = (micro.input_ids, micro.predictors, micro.response_ids, micro.mask)
    for _ in range(2):
        for score in (
            lambda: scored(policy, micro)[0],
            lambda: policy.values(micro.input_ids, micro.predictors),
            lambda: policy.ref_logprobs(*inputs, temperature=1.0),
        ):
            assert torch.equal(score(), score())
        with policy.learning():
            assert not torch.equal(scored(policy, micro)[0], scored(policy, micro)[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "policy.device: 'nope' is no device; expected"),
        ("", "policy.device: '' is no device; expected"),
        ("meta", "policy.device: 'meta' is no device; expected"),
        ("cpu:3", "policy.device: 'cpu:3' is no device; expected"),
        ("cuda:99", "policy.device: 'cuda:99' is not there: [0-9]+ CUDA devices are visible"),
    ],
)
def test_a_device_that_cannot_be_used_is_one_line(name, message):
    with pytest.raises(ModelError, match=message):
        pick_device(name)
