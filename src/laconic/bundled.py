"""The models that come with the package: their names, and the folders of their weights in Hugging Face format."""

from collections.abc import Mapping
from pathlib import Path

BUNDLED: Mapping[str, Path] = {name: Path(__file__).parent / name / "checkpoint" for name in ("tiny", "seeker")}
"""Folder by name. `tiny` writes chains of steps (`laconic.tiny`), `seeker` searches (`laconic.seeker`)."""

BUNDLED_LICENCE = "apache-2.0"
"""The package's own, as the hub lists it."""
