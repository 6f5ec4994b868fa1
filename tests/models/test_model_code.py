"""Code that comes with a model, which `policy.trust_remote_code` lets run: what it raises is one line."""

import pytest
from small import save_small_model

from laconic.config.policy import PolicyConfig
from laconic.errors import ModelError
from laconic.models import loading
from laconic.models.loading import load_model, load_tokenizer

RAISED = ((SystemExit(0), r"its code calls sys\.exit\(0\)$"), (RuntimeError("no luck\nat all"), "no luck$"))


@pytest.mark.parametrize(("error", "says"), RAISED)
@pytest.mark.parametrize("where", ["AutoTokenizer", "AutoConfig", "AutoModelForCausalLM"])
def test_what_the_code_of_a_model_raises_is_one_line(tmp_path, monkeypatch, where, error, says):
    """Wherever it runs; a `sys.exit(0)` in it would otherwise end the command as if all were done."""
    folder = str(save_small_model(tmp_path / "model"))

    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(getattr(loading, where), "from_pretrained", fail)
    with pytest.raises(ModelError, match=f"cannot be loaded: .*{says}"):
        load_tokenizer(folder, PolicyConfig())
        load_model(folder, PolicyConfig())
