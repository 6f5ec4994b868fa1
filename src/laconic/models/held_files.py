"""What a model's folder holds, as digests: a run that is resumed must find the models that it began with.

1. `digests_of` takes every file of the folder that a loaded model depends on: configs, tokenizer, chat template, code, weights.
2. Of a model on the hub it takes the revision in the hub's cache, which stands for all its files.
"""

from pathlib import Path

from laconic.models.loading import resolve_model
from laconic.system.checksums import file_digest
from laconic.system.hub import cached_revision

READ_PATTERNS = (
    "*.json",
    "*.jinja",
    "*.model",
    "*.txt",
    "*.py",
    "*.safetensors",
    "*.gguf",
    "additional_chat_templates/*.jinja",
)
"""Patterns of the files of a model's folder that are read when the model is loaded."""
NO_PART = ("trainer.json", "trainer.safetensors")
"""What lies beside a model in a checkpoint of a run, and is no part of it."""


def digests_of(name: str) -> dict[str, str]:
    """The SHA-256 of each file of the model `name`, by its path as a recipe would name it; of a model on the hub its revision."""
    source = Path(resolve_model(name))
    if source.is_file():
        return {name: file_digest(source)}
    if not source.is_dir():
        revision = cached_revision(name)
        return {} if revision is None else {name: revision}
    files = sorted({file for pattern in READ_PATTERNS for file in source.glob(pattern) if file.is_file()})
    return {str(Path(name) / file.relative_to(source)): file_digest(file) for file in files if file.name not in NO_PART}
