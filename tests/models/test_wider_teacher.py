"""A teacher of the student's family may have more rows in its embedding, for which the tokenizer has no words."""

from pathlib import Path

import oracles
import pytest
import torch

from laconic.config.policy import PolicyConfig
from laconic.errors import ModelError
from laconic.models.policy import Policy

CONFIG = PolicyConfig(device="cpu")
IDS = torch.arange(4, 12).repeat(2, 1)
PREDICTORS, MASK = torch.arange(3, 7).repeat(2, 1), torch.ones(2, 4, dtype=torch.bool)


def padded(rows: int, seed: int, folder: Path) -> str:
    """A small model whose embedding has `rows` rows, saved."""
    model = oracles.small_model("llama", seed)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(folder)
    oracles.small_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("rows", [56, 40, 37])
def test_the_exact_kl_is_over_the_rows_that_both_have(rows: int, tmp_path: Path) -> None:
    """KL(student || teacher) of the two softmaxes over the common rows; log-probabilities under the teacher are its own."""
    student = oracles.small_lm("llama", seed=1)
    policy = Policy(student, CONFIG, seed=0)
    policy.begin_phase(critic="zero", needs_reference=True, reference_model=padded(rows, 2, tmp_path))
    assert policy.reference is not None
    kl = policy.exact_kl(IDS, PREDICTORS, MASK, temperature=0.7)
    with torch.no_grad():
        common = min(rows, 40)
        p, q = (
            (model(IDS).logits[:, 3:7, :common] / 0.7).double().log_softmax(-1)
            for model in (student.model, policy.reference.lm.model)
        )
        whole = (policy.reference.lm.model(IDS).logits[:, 3:7] / 0.7).log_softmax(-1)
    assert torch.allclose(kl.double(), (p.exp() * (p - q)).sum(-1), atol=1e-5)
    ours = policy.ref_logprobs(IDS, PREDICTORS, IDS[:, 4:], MASK, temperature=0.7)
    assert torch.allclose(ours, whole.gather(-1, IDS[:, 4:, None])[..., 0], atol=1e-5)


def test_a_token_that_a_narrower_teacher_lacks_is_one_line(tmp_path: Path) -> None:
    policy = Policy(oracles.small_lm("llama"), CONFIG, seed=0)
    policy.begin_phase(critic="zero", needs_reference=True, reference_model=padded(37, 2, tmp_path))
    ids = IDS.clone()
    ids[0, 6] = 38
    for score in (
        lambda: policy.exact_kl(ids, PREDICTORS, MASK, temperature=1.0),
        lambda: policy.ref_logprobs(ids, PREDICTORS, ids[:, 4:], MASK, temperature=1.0),
    ):
        with pytest.raises(ModelError, match=r"as reference_model it has 37 rows of words, .* holds the token 38"):
            score()
