"""A small untrained reasoner and recipes over it: enough to run every program in seconds. Not a test module."""

import tomllib
from pathlib import Path

from laconic.config.load import parse_recipe
from laconic.config.recipe import Recipe
from laconic.tiny.build import BuildSettings, make_model, make_tokenizer

RECIPE = """
name = "small"
model = "MODEL"
seed = 0
threads = 1
watch = { every = 2, samples = 1 }
report = { temperatures = [1.0, 0.0], samples = 2 }
checkpoints = { every = 3, keep = 2 }

[problems]
train = "tiny:mix?count=8&split=train"
watch = "tiny:mix?count=4&split=watch"
report = "tiny:mix?count=4&split=report"

[defaults]
steps = 4
problems_per_step = 3
group_size = 4
sampler = { max_tokens = 12, batch_size = 8 }
optimizer = { lr = 1e-3, critic_lr = 1e-3, minibatches = 2, micro_batch_tokens = 200 }
end = { guard_drop = 1.0 }

[[phases]]
name = "first"
select = { how = "all", count = 6, samples = 2 }
algorithm = { name = "ppo", kl_coef = 0.05, whitening = "batch", reference = "ema", ema_decay = 0.9 }

[[phases]]
name = "second"
steps = 3
algorithm = { name = "rloo", old_logprobs = "sampler", entropy_coef = 0.01, entropy_target = 1.0 }
end = { guard_drop = 1.0, keep = "best", goal = "tokens" }
"""


def save_small_model(folder: Path, seed: int = 0) -> Path:
    """An untrained one-layer reasoner in Hugging Face format."""
    make_model(BuildSettings(layers=1, width=32, seed=seed)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def small_recipe(model: Path, **changes: object) -> Recipe:
    """The recipe above over `model`."""
    return parse_recipe(tomllib.loads(RECIPE.replace("MODEL", str(model))) | changes, "small recipe")


def write_small_recipe(path: Path, model: Path) -> Path:
    """The recipe above as a file."""
    path.write_text(RECIPE.replace("MODEL", str(model)), encoding="utf-8")
    return path
